// Which rows of the table are here? A hundred at a time, those that are seen, and again when they changed.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { get, type Fault, type Query, url } from "../lib/api";
import { asFault } from "../lib/data";
import { throttled } from "../lib/live";
import type { Group, Run, RunsPage } from "../lib/types";

export const PAGE = 100;
const AGAIN_MS = 2000;

export interface Rows {
  total: number;
  groups: Group[] | null;
  at: (index: number) => Run | undefined;
  fault: Fault | null;
  loading: boolean; // the first page of what is asked for now is not here yet
  show: (first: number, last: number) => void;
}

interface State {
  total: number;
  groups: Group[] | null;
  pages: ReadonlyMap<number, Run[]>;
  fault: Fault | null;
  loading: boolean;
}

export function useRuns(query: Query, beat: number): Rows {
  const key = url("/api/runs", query);
  const [state, setState] = useState<State>({ total: 0, groups: null, pages: new Map(), fault: null, loading: true });
  const asked = useRef({ key, span: [0, 0] as [number, number], here: new Set<number>(), stop: new AbortController() });

  const load = useCallback((page: number, fresh: boolean): void => {
    const mine = asked.current;
    mine.here.add(page);
    get<RunsPage>("/api/runs", { ...query, offset: page * PAGE, limit: PAGE }, mine.stop.signal).then(
      (found) => {
        if (asked.current !== mine) return;
        setState((before) => ({
          total: found.total,
          groups: query["group"] ? found.groups : null,
          pages: new Map([...(fresh ? [] : before.pages), [page, found.rows]]),
          fault: null,
          loading: false,
        }));
      },
      (error: unknown) => {
        mine.here.delete(page);
        if (asked.current === mine && !mine.stop.signal.aborted) setState((before) => ({ ...before, fault: asFault(error), loading: false }));
      },
    );
  }, [key]);

  // Another filter or order: what is seen stays until the new is here.
  useEffect(() => {
    asked.current.stop.abort();
    asked.current = { key, span: [0, 0], here: new Set(), stop: new AbortController() };
    setState((before) => ({ ...before, loading: true }));
    load(0, true);
    return () => asked.current.stop.abort();
  }, [key]);

  // Something changed: what is seen is asked for again, the rest when it is seen.
  const again = useRef(() => {});
  again.current = () => {
    const { span, here } = asked.current;
    here.clear();
    for (let page = span[0]; page <= span[1]; page++) load(page, false);
  };
  const [later] = useState(() => throttled(() => document.hidden || again.current(), AGAIN_MS));
  useEffect(() => {
    if (beat) later();
  }, [beat]);

  const show = useCallback((first: number, last: number): void => {
    const mine = asked.current;
    mine.span = [Math.floor(first / PAGE), Math.floor(Math.max(first, last) / PAGE)];
    for (let page = mine.span[0]; page <= mine.span[1]; page++) if (!mine.here.has(page)) load(page, false);
  }, [load]);

  const at = (index: number): Run | undefined => state.pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  return { ...state, at, show };
}
