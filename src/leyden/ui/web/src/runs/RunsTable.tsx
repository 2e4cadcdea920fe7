// The table of runs: only the rows that are seen are drawn, so ten thousand are no more work than forty.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Column } from "./columns";
import type { Rows } from "./useRuns";

export const ROW_PX = 28;
const SELECT_PX = 30;
const SPARE_ROWS = 10;

interface Props {
  rows: Rows;
  columns: Column[];
  pinned: ReadonlySet<string>;
  sort: readonly string[];
  cursor: number;
  selected: ReadonlySet<string>;
  onSort: (name: string, add: boolean) => void;
  onCursor: (index: number) => void;
  onSelect: (id: string) => void;
}

export function RunsTable({ rows, columns, pinned, sort, cursor, selected, onSort, onCursor, onSelect }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [first, last] = useSeen(box, rows.total);
  useEffect(() => rows.show(first, last), [first, last, rows.show]);
  useLayoutEffect(() => keepInView(box.current, cursor), [cursor]);

  const ordered = [...columns.filter((one) => pinned.has(one.name)), ...columns.filter((one) => !pinned.has(one.name))];
  const lefts = offsets(ordered);
  const width = SELECT_PX + ordered.reduce((sum, one) => sum + one.width, 0);
  const template = `${SELECT_PX}px ${ordered.map((one) => `${one.width}px`).join(" ")} 1fr`;
  const place = (index: number) => (pinned.has(ordered[index]!.name) ? { left: `${lefts[index]}px` } : {});
  const fixed = (one: Column) => (pinned.has(one.name) ? " pinned" : "");

  const seen: number[] = [];
  for (let index = first; index <= Math.min(last, rows.total - 1); index++) seen.push(index);
  return (
    <div class="runs-table" role="grid" aria-rowcount={rows.total} ref={box} tabIndex={-1}>
      <div class="head" role="row" style={{ gridTemplateColumns: template, minWidth: `${width}px` }}>
        <span class="cell pinned select" style={{ left: "0px" }} />
        {ordered.map((one, index) => (
          <Head key={one.name} column={one} sort={sort} class={fixed(one)} left={place(index)} onSort={onSort} />
        ))}
      </div>
      <div class="body" style={{ height: `${rows.total * ROW_PX}px`, minWidth: `${width}px` }}>
        {seen.map((index) => {
          const run = rows.at(index);
          const chosen = run !== undefined && selected.has(run.id);
          return (
            <div
              key={index}
              role="row"
              aria-rowindex={index + 1}
              aria-selected={chosen}
              class={`row${index === cursor ? " cursor" : ""}${chosen ? " chosen" : ""}`}
              style={{ gridTemplateColumns: template, transform: `translateY(${index * ROW_PX}px)` }}
              onMouseDown={() => onCursor(index)}
            >
              <span class="cell pinned select" style={{ left: "0px" }}>
                {run && <input type="checkbox" checked={chosen} aria-label={`select ${run.name}`} onChange={() => onSelect(run.id)} />}
              </span>
              {ordered.map((one, at) => (
                <span key={one.name} role="gridcell" class={`cell${one.right ? " right" : ""}${fixed(one)}`} style={place(at)}>
                  {run ? one.draw(run) : <i class="pending" />}
                </span>
              ))}
            </div>
          );
        })}
      </div>
    </div>
  );
}

function Head({ column, sort, left, class: more, onSort }: {
  column: Column;
  sort: readonly string[];
  left: { left?: string };
  class: string;
  onSort: (name: string, add: boolean) => void;
}) {
  const up = sort.includes(column.name);
  const down = sort.includes(`-${column.name}`);
  return (
    <span role="columnheader" aria-sort={up ? "ascending" : down ? "descending" : "none"} class={`cell${column.right ? " right" : ""}${more}`} style={left}>
      <button title={`${column.name}: click to sort, with Shift as a further key`} onClick={(event) => onSort(column.name, event.shiftKey)}>
        {column.label}
      </button>
      {(up || down) && <b>{up ? "↑" : "↓"}</b>}
    </span>
  );
}

/** First and last row that is seen, and some to spare. */
function useSeen(box: { current: HTMLDivElement | null }, total: number): [number, number] {
  const [seen, setSeen] = useState<[number, number]>([0, 40]);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    let frame = 0;
    const look = (): void => {
      frame = 0;
      const first = Math.max(0, Math.floor(element.scrollTop / ROW_PX) - SPARE_ROWS);
      const last = Math.ceil((element.scrollTop + element.clientHeight) / ROW_PX) + SPARE_ROWS;
      setSeen((before) => (before[0] === first && before[1] === last ? before : [first, last]));
    };
    const soon = (): void => void (frame ||= requestAnimationFrame(look));
    const observer = new ResizeObserver(soon);
    observer.observe(element);
    element.addEventListener("scroll", soon, { passive: true });
    look();
    return () => {
      cancelAnimationFrame(frame);
      observer.disconnect();
      element.removeEventListener("scroll", soon);
    };
  }, [total]);
  return seen;
}

function offsets(columns: readonly Column[]): number[] {
  let left = SELECT_PX;
  return columns.map((one) => (left += one.width) - one.width);
}

function keepInView(element: HTMLDivElement | null, index: number): void {
  if (!element || index < 0) return;
  const top = index * ROW_PX;
  const room = element.clientHeight - 2 * ROW_PX;
  if (top < element.scrollTop) element.scrollTop = top;
  else if (top > element.scrollTop + room) element.scrollTop = top - room;
}
