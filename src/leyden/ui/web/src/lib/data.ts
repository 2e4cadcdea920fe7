// How does a component show what the server knows, while it is asked, when it fails, and when it changes?

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Fault } from "./api";
import { onceLive } from "./live";

export interface Loaded<T> {
  data: T | null;
  fault: Fault | null;
  loading: boolean;
  reload: () => void;
}

/**
 * What `load` gives, again when `key` changes, every `everyMs` while the page is seen, on reload(), and when a server
 * that did not answer is back.
 * What was there before stays until the new is there, so nothing flickers. A null key loads nothing.
 */
export function useData<T>(key: string | null, load: (signal: AbortSignal) => Promise<T>, everyMs = 0): Loaded<T> {
  const [state, setState] = useState<{ data: T | null; fault: Fault | null; loading: boolean }>(
    { data: null, fault: null, loading: key !== null },
  );
  const [turn, setTurn] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  const reload = useCallback(() => setTurn((before) => before + 1), []);

  useEffect(() => {
    if (key === null) return undefined;
    const stop = new AbortController();
    setState((before) => ({ ...before, loading: true }));
    latest.current(stop.signal).then(
      (data) => stop.signal.aborted || setState({ data, fault: null, loading: false }),
      (error: unknown) => stop.signal.aborted || setState((before) => ({ ...before, fault: asFault(error), loading: false })),
    );
    return () => stop.abort();
  }, [key, turn]);

  const away = key !== null && state.fault?.status === 0;
  useEffect(() => (away ? onceLive(reload) : undefined), [away, turn]);

  useEffect(() => {
    if (!everyMs || key === null) return undefined;
    const timer = setInterval(() => document.hidden || reload(), everyMs);
    return () => clearInterval(timer);
  }, [everyMs, key]);

  return { ...state, reload };
}

export function asFault(error: unknown): Fault {
  if (error instanceof Fault) return error;
  return new Fault("the page was drawn", String(error), "Reload it; if that does not help, tell us.");
}
