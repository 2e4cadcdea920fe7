// The output of one rank: its end first, then what comes, and what came before when asked for.
//
// It is asked for twice a second while somebody looks; no connection is held open for it.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ask, Fault, get, url } from "../lib/api";
import { asFault } from "../lib/data";

const LINES_AT_FIRST = 100_000;
const CHUNK = 4 << 20;
const MOST = 48 << 20;
const EVERY_MS = 500;

export interface Log {
  lines: readonly string[];
  version: number; // grows with every change
  begin: number; // byte where the first line stands
  loading: boolean;
  fault: Fault | null;
  earlier: () => void;
}

/** Where output comes from. */
export interface Output {
  key: string;
  whole: string; // address of all of it
  begin: (signal: AbortSignal) => Promise<number>; // byte where its last lines begin
  read: (offset: number, limit: number, signal: AbortSignal) => Promise<ArrayBuffer>;
}

/** Of a rank of a job's attempt; null is the last. */
export function outputOfJob(job: string, rank: number, attempt: number | null): Output {
  const [path, query] = [`/api/jobs/${job}/logs`, { rank, attempt }];
  return {
    key: url(path, query),
    whole: url(path, query),
    begin: async (signal) => {
      const tail = await get<{ offset: number; size_bytes: number }>(`${path}/tail`, { ...query, lines: LINES_AT_FIRST }, signal);
      return Math.max(tail.offset, tail.size_bytes - MOST);
    },
    read: async (offset, limit, signal) => (await ask(url(path, { ...query, offset, limit }), { signal })).arrayBuffer(),
  };
}

/** What a run without a job sent here of a rank's output: a plain file, which may not be there. */
export function outputOfRun(run: string, rank: number): Output {
  const whole = `/api/runs/${run}/files/logs/a1-r${rank}.log`;
  return {
    key: whole,
    whole,
    begin: async () => 0,
    read: async (offset, limit, signal) => {
      try {
        return await (await ask(whole, { signal, headers: { Range: `bytes=${offset}-${offset + limit - 1}` } })).arrayBuffer();
      } catch (error) {
        if (error instanceof Fault && (error.status === 416 || error.status === 404)) return new ArrayBuffer(0); // nothing there, or no more
        throw error;
      }
    },
  };
}

interface State {
  lines: string[];
  rest: string; // of a line that is not over
  begin: number;
  end: number;
  decoder: TextDecoder;
}

export function useLog(output: Output, active: boolean): Log {
  const state = useRef<State>(empty());
  const [version, setVersion] = useState(0);
  const [loading, setLoading] = useState(true);
  const [fault, setFault] = useState<Fault | null>(null);
  const still = useRef(active);
  still.current = active;

  useEffect(() => {
    const stop = new AbortController();
    const mine = (state.current = empty());
    let timer = 0;
    setLoading(true);
    setFault(null);
    setVersion((before) => before + 1);
    const more = async (): Promise<void> => {
      for (let got = CHUNK; got >= CHUNK && !stop.signal.aborted; ) {
        got = take(mine, await output.read(mine.end, CHUNK, stop.signal));
        if (got) setVersion((before) => before + 1);
      }
    };
    const turn = async (): Promise<void> => {
      const last = !still.current; // asked before reading: what was written before the end is read after it
      try {
        if (!document.hidden) await more();
        setFault(null);
      } catch (error) {
        if (!stop.signal.aborted) setFault(asFault(error));
      }
      setLoading(false);
      if (!stop.signal.aborted && !last) timer = setTimeout(() => void turn(), EVERY_MS) as unknown as number;
    };
    output.begin(stop.signal)
      .then((begin) => void (mine.begin = mine.end = begin))
      .then(turn, (error: unknown) => {
        if (!stop.signal.aborted) setFault(asFault(error));
        setLoading(false);
      });
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [output.key, active]);

  const earlier = useCallback(() => {
    const mine = state.current;
    const from = Math.max(0, mine.begin - CHUNK);
    output.read(from, mine.begin - from, new AbortController().signal).then(
      (bytes) => {
        if (state.current !== mine) return;
        mine.lines = [...split(new TextDecoder().decode(bytes).replace(/\n$/, "")), ...mine.lines];
        mine.begin = from;
        setVersion((before) => before + 1);
      },
      (error: unknown) => setFault(asFault(error)),
    );
  }, [output.key]);

  const { lines, rest, begin } = state.current;
  return { lines: rest ? [...lines, shownPart(rest)] : lines, version, begin, loading, fault, earlier };
}

function empty(): State {
  return { lines: [], rest: "", begin: 0, end: 0, decoder: new TextDecoder() };
}

function take(state: State, bytes: ArrayBuffer): number {
  if (!bytes.byteLength) return 0;
  state.end += bytes.byteLength;
  const parts = (state.rest + state.decoder.decode(bytes, { stream: true })).split("\n");
  state.rest = parts.pop() ?? "";
  for (const part of parts) state.lines.push(shownPart(part));
  return bytes.byteLength;
}

function split(text: string): string[] {
  return text.split("\n").map(shownPart);
}

/** Of a line that was written over, as progress bars do, what was written last. */
function shownPart(line: string): string {
  if (!line.includes("\r")) return line;
  const text = line.endsWith("\r") ? line.slice(0, -1) : line;
  return text.slice(text.lastIndexOf("\r") + 1);
}
