// A table of runs, sweeps or trials: only the rows that are seen are drawn, so ten thousand are no more work than forty.

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

export const ROW_PX = 28;
const SELECT_PX = 30;
const SPACE_PX = 6; // in place of what selects
const SPARE_ROWS = 10;
const [LEAST_PX, MOST_PX] = [40, 900]; // of a column

export interface Column<Row> {
  name: string; // to sort by, to filter with
  label: string;
  width: number;
  right: boolean;
  draw: (row: Row) => JSX.Element | string;
}

/** What tells a row apart, in the address and for who selects it. */
export interface Named {
  id: string;
  name: string;
}

export interface Rows<Row> {
  total: number;
  at: (index: number) => Row | undefined; // undefined: not here yet
  show?: (first: number, last: number) => void;
}

interface Props<Row extends Named> {
  label: string;
  rows: Rows<Row>;
  columns: readonly Column<Row>[];
  pinned: ReadonlySet<string>;
  sort: readonly string[];
  cursor: number;
  selected: ReadonlySet<string>;
  onSort: (name: string, add: boolean) => void;
  onWidth: (name: string, width: number | null) => void;
  onCursor: (index: number) => void;
  onSelect: ((id: string) => void) | null; // null: none can be selected
}

export function Table<Row extends Named>({ label, rows, columns, pinned, sort, cursor, selected, onSort, onWidth, onCursor, onSelect }: Props<Row>) {
  const select = onSelect ? SELECT_PX : SPACE_PX;
  const box = useRef<HTMLDivElement>(null);
  const [first, last] = useSeen(box, rows.total);
  useEffect(() => rows.show?.(first, last), [first, last, rows.show]);
  useLayoutEffect(() => keepInView(box.current, cursor), [cursor]);

  const [dragged, setDragged] = useState<{ name: string; width: number } | null>(null);
  const sized = columns.map((one) => (one.name === dragged?.name ? { ...one, width: dragged.width } : one));
  const ordered = [...sized.filter((one) => pinned.has(one.name)), ...sized.filter((one) => !pinned.has(one.name))];
  const lefts = offsets(ordered, select);
  const width = select + ordered.reduce((sum, one) => sum + one.width, 0);
  const template = `${select}px ${ordered.map((one) => `${one.width}px`).join(" ")} 1fr`;
  const place = (index: number) => (pinned.has(ordered[index]!.name) ? { left: `${lefts[index]}px` } : {});
  const fixed = (one: Column<Row>) => (pinned.has(one.name) ? " pinned" : "");

  const seen: number[] = [];
  for (let index = first; index <= Math.min(last, rows.total - 1); index++) seen.push(index);
  return (
    <div class="runs-table" role="grid" aria-rowcount={rows.total} ref={box} tabIndex={0} aria-label={label} aria-activedescendant={cursor >= 0 ? `row-${cursor}` : undefined}>
      <div class="head" role="row" style={{ gridTemplateColumns: template, minWidth: `${width}px` }}>
        <span class="cell pinned select" style={{ left: "0px" }} />
        {ordered.map((one, index) => (
          <Head key={one.name} column={one} sort={sort} class={fixed(one)} left={place(index)} onSort={onSort}>
            <Edge column={one} onDrag={(width) => setDragged({ name: one.name, width })} onWidth={(width) => (setDragged(null), onWidth(one.name, width))} />
          </Head>
        ))}
      </div>
      <div class="body" style={{ height: `${rows.total * ROW_PX}px`, minWidth: `${width}px` }}>
        {seen.map((index) => {
          const row = rows.at(index);
          const chosen = row !== undefined && selected.has(row.id);
          return (
            <div
              key={index}
              role="row"
              id={`row-${index}`}
              aria-rowindex={index + 1}
              aria-selected={chosen}
              class={`row${index === cursor ? " cursor" : ""}${chosen ? " chosen" : ""}`}
              style={{ gridTemplateColumns: template, transform: `translateY(${index * ROW_PX}px)` }}
              onMouseDown={() => onCursor(index)}
            >
              <span class="cell pinned select" style={{ left: "0px" }}>
                {row && onSelect && <input type="checkbox" tabIndex={-1} checked={chosen} aria-label={`select ${row.name}`} onChange={() => onSelect(row.id)} />}
              </span>
              {ordered.map((one, at) => (
                <span key={one.name} role="gridcell" class={`cell${one.right ? " right" : ""}${fixed(one)}`} style={place(at)}>
                  {row ? one.draw(row) : <i class="pending" />}
                </span>
              ))}
            </div>
          );
        })}
      </div>
    </div>
  );
}

interface Heading {
  name: string;
  label: string;
  width: number;
  right: boolean;
}

function Head({ column, sort, left, class: more, onSort, children }: {
  children: ComponentChildren;
  column: Heading;
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
      {children}
    </span>
  );
}

/** The right edge of a column: drag it, or use the arrow keys; a double click gives the width it had. */
function Edge({ column, onDrag, onWidth }: { column: Heading; onDrag: (width: number) => void; onWidth: (width: number | null) => void }) {
  const from = useRef<{ x: number; width: number } | null>(null);
  const at = (event: PointerEvent): number => within(from.current!.width + event.clientX - from.current!.x);
  return (
    <i
      class="edge" role="separator" aria-orientation="vertical" aria-label={`width of ${column.name}`} aria-valuenow={column.width} tabIndex={0}
      title="Drag to make it wider; double click for the usual width"
      onPointerDown={(event) => {
        from.current = { x: event.clientX, width: column.width };
        event.currentTarget.setPointerCapture(event.pointerId);
        event.preventDefault();
      }}
      onPointerMove={(event) => from.current && onDrag(at(event))}
      onPointerUp={(event) => {
        if (from.current && event.clientX !== from.current.x) onWidth(at(event));
        from.current = null;
      }}
      onDblClick={() => onWidth(null)}
      onKeyDown={(event) => {
        const by = event.key === "ArrowLeft" ? -10 : event.key === "ArrowRight" ? 10 : 0;
        if (by) (event.preventDefault(), onWidth(within(column.width + by)));
      }}
    />
  );
}

function within(width: number): number {
  return Math.round(Math.min(MOST_PX, Math.max(LEAST_PX, width)));
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

function offsets(columns: readonly Heading[], from: number): number[] {
  let left = from;
  return columns.map((one) => (left += one.width) - one.width);
}

function keepInView(element: HTMLDivElement | null, index: number): void {
  if (!element || index < 0) return;
  const top = index * ROW_PX;
  const room = element.clientHeight - 2 * ROW_PX;
  if (top < element.scrollTop) element.scrollTop = top;
  else if (top > element.scrollTop + room) element.scrollTop = top - room;
}
