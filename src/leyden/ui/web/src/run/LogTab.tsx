// What the program printed: each rank and attempt, searched, followed to its end.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { change, useAddress } from "../lib/address";
import { plain, spans } from "../lib/ansi";
import { plural } from "../lib/format";
import { Wrong } from "../parts/messages";
import { type Output, useLog } from "./useLog";

const LINE_PX = 18;
const SPARE = 20;

interface Props {
  output: (rank: number, attempt: number | null) => Output;
  ranks: number;
  attempts: number;
  active: boolean;
  nothing: ComponentChildren; // said where nothing was printed
}

/** The line of the address is one of the whole output; while only the end of a long one is here, lines have no numbers. */
export function LogTab({ output, ranks, attempts, active, nothing }: Props) {
  const { query } = useAddress();
  const rank = Math.max(0, Number(query.get("rank")) || 0);
  const attempt = Number(query.get("attempt")) || null;
  const find = query.get("find") ?? "";
  const only = query.get("only") === "1" && find !== "";
  const line = Number(query.get("line")) - 1;
  const from = output(rank, attempt);
  const log = useLog(from, active);
  const matches = useMatches(log.lines, log.version, find);
  const [follow, setFollow] = useState(line < 0);
  const shown = only ? matches.map((index) => log.lines[index]!) : log.lines;
  const place = matches.indexOf(line);
  const number = (index: number): number => (only ? matches[index]! : index) + 1;
  const choose = (index: number | null): void => {
    if (index !== null) setFollow(false);
    change({ line: index === null ? null : index + 1 }, "replace");
  };
  const step = (by: 1 | -1): void => {
    const next = by > 0 ? matches.find((index) => index > line) : matches.findLast((index) => index < line);
    choose(next ?? (by > 0 ? matches[0] : matches.at(-1)) ?? null);
  };
  return (
    <div class="log-tab">
      <div class="toolbar">
        <input
          type="search" class="find" value={find} placeholder="Search" aria-label="Search in the log" spellcheck={false}
          onInput={(event) => change({ find: event.currentTarget.value, line: null }, "replace")}
          onKeyDown={(event) => event.key === "Enter" && step(event.shiftKey ? -1 : 1)}
        />
        {find && (
          <>
            <span class="muted num" role="status">{place >= 0 ? `${place + 1} of ` : ""}{plural(matches.length, "line")}</span>
            <button title="Previous (Shift Enter)" aria-label="Previous" onClick={() => step(-1)}>↑</button>
            <button title="Next (Enter)" aria-label="Next" onClick={() => step(1)}>↓</button>
            <button class={only ? "on" : ""} aria-pressed={only} onClick={() => change({ only: !only }, "replace")}>only these</button>
          </>
        )}
        <Choice label="rank" count={ranks} from={0} value={rank} onChoose={(value) => change({ rank: value || null, line: null })} />
        <Choice label="attempt" count={attempts} from={1} value={attempt ?? attempts} onChoose={(value) => change({ attempt: value === attempts ? null : value, line: null })} />
        <span class="grow" />
        <span class="muted num">{plural(log.lines.length, "line")}{log.begin > 0 ? " at the end" : ""}</span>
        {log.begin > 0 && <button onClick={log.earlier}>Earlier lines</button>}
        <button class={follow ? "on" : ""} aria-pressed={follow} title="Stay at the end" onClick={() => setFollow(!follow)}>Follow</button>
        <a class="muted" href={from.whole} download={`${from.key.split("/")[3]}-r${rank}.log`}>Download</a>
      </div>
      {log.fault && <Wrong fault={log.fault} />}
      {log.lines.length === 0 && !log.loading && !log.fault ? nothing : (
        <Lines
          lines={shown} version={log.version} find={find} at={only ? place : line} follow={follow} numbers={log.begin === 0 ? number : null}
          onFollow={setFollow} onLine={(index) => choose(number(index) - 1)}
        />
      )}
    </div>
  );
}

function Choice({ label, count, from, value, onChoose }: {
  label: string;
  count: number;
  from: number;
  value: number;
  onChoose: (value: number) => void;
}) {
  if (count < 2) return null;
  return (
    <label class="muted">
      {label}{" "}
      <select value={value} aria-label={label} onChange={(event) => onChoose(Number(event.currentTarget.value))}>
        {Array.from({ length: count }, (_, index) => <option key={index} value={index + from}>{index + from}</option>)}
      </select>
    </label>
  );
}

/** Only the lines that are seen are drawn. */
function Lines({ lines, version, find, at, follow, numbers, onFollow, onLine }: {
  lines: readonly string[];
  version: number;
  find: string;
  at: number;
  follow: boolean;
  numbers: ((index: number) => number) | null;
  onFollow: (follow: boolean) => void;
  onLine: (index: number) => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  const [first, setFirst] = useState(0);
  const [room, setRoom] = useState(60);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const look = (): void => {
      setFirst(Math.max(0, Math.floor(element.scrollTop / LINE_PX) - SPARE));
      setRoom(Math.ceil(element.clientHeight / LINE_PX) + 2 * SPARE);
    };
    const observer = new ResizeObserver(look);
    observer.observe(element);
    element.addEventListener("scroll", look, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", look);
    };
  }, []);
  useLayoutEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [follow, version, lines.length]);
  useLayoutEffect(() => {
    if (at >= 0 && box.current) box.current.scrollTop = at * LINE_PX - box.current.clientHeight / 3;
  }, [at, lines.length > at]);
  const seen = lines.slice(first, first + room);
  return (
    <div
      class="lines" ref={box} tabIndex={0} role="log" aria-label="Output"
      onWheel={(event) => event.deltaY < 0 && follow && onFollow(false)}
      onScroll={(event) => {
        const element = event.currentTarget;
        if (!follow && element.scrollTop + element.clientHeight >= element.scrollHeight - 2) onFollow(true);
      }}
    >
      <div class="all" style={{ height: `${lines.length * LINE_PX}px` }}>
        <div class="seen" style={{ transform: `translateY(${first * LINE_PX}px)` }}>
          {seen.map((line, index) => (
            <div key={first + index} class={`line${first + index === at ? " at" : ""}`}>
              {numbers && <i title="Keep this line in the address" onClick={() => onLine(first + index)}>{numbers(first + index)}</i>}
              <Text line={line} find={find} />
            </div>
          ))}
        </div>
      </div>
    </div>
  );
}

function Text({ line, find }: { line: string; find: string }) {
  if (find && plain(line).toLowerCase().includes(find.toLowerCase())) {
    const text = plain(line);
    const pieces: preact.ComponentChild[] = [];
    const [lower, word] = [text.toLowerCase(), find.toLowerCase()];
    let at = 0;
    for (let next = lower.indexOf(word); next >= 0; next = lower.indexOf(word, at)) {
      pieces.push(text.slice(at, next), <mark key={next}>{text.slice(next, next + find.length)}</mark>);
      at = next + find.length;
    }
    return <span>{pieces}{text.slice(at)}</span>;
  }
  return <span>{spans(line).map((span, index) => (span.class ? <span key={index} class={span.class}>{span.text}</span> : span.text))}</span>;
}

/** Which lines hold the text; of a log that grows only what is new is looked at. */
function useMatches(lines: readonly string[], version: number, find: string): number[] {
  const known = useRef({ find: "", first: "", until: 0, found: [] as number[] });
  return useMemo(() => {
    if (!find) return [];
    const word = find.toLowerCase();
    const before = known.current;
    const same = before.find === word && before.first === (lines[0] ?? "") && before.until <= lines.length;
    const until = same ? before.until : 0;
    const found = same ? before.found.filter((index) => index < until) : [];
    for (let index = until; index < lines.length; index++) if (plain(lines[index]!).toLowerCase().includes(word)) found.push(index);
    known.current = { find: word, first: lines[0] ?? "", until: Math.max(0, lines.length - 1), found };
    return found;
  }, [lines.length, version, find]);
}
