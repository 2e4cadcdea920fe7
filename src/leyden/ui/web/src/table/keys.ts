// How does one get about in a table without the mouse?

import { useEffect, useRef, useState } from "preact/hooks";
import { typing } from "../app";
import { change, joined, list } from "../lib/address";
import type { Named, Rows } from "./Table";

/** Where the keys are: as drawn, and as it is by now. */
export function useCursor(): [number, (index: number) => void, () => number] {
  const [drawn, draw] = useState(-1);
  const now = useRef(-1);
  const set = (index: number): void => draw((now.current = index));
  return [drawn, set, () => now.current];
}

interface Keyed<Row extends Named> {
  rows: Rows<Row>;
  cursorNow: () => number;
  setCursor: (index: number) => void;
  open: (row: Row) => void;
  select?: (id: string) => void;
  compare?: () => void;
  clear: () => void;
}

export function useKeys<Row extends Named>(given: Keyed<Row>): void {
  const latest = useRef(given);
  latest.current = given; // effects come later than what is seen, and a key may come in between
  useEffect(() => {
    const key = (event: KeyboardEvent): void => {
      if (!typing(event) && !document.querySelector(".veil") && acted(event, latest.current)) event.preventDefault();
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
}

/** By how many rows a key moves; other keys than letters only while the table has the focus. */
function moves(event: KeyboardEvent): number {
  const letters: Record<string, number> = { j: 1, k: -1 };
  const keys: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20, Home: -Infinity, End: Infinity };
  const focused = (event.target as HTMLElement).matches(".runs-table");
  return letters[event.key] ?? (focused ? (keys[event.key] ?? 0) : 0);
}

function acted<Row extends Named>(event: KeyboardEvent, { rows, cursorNow, setCursor, open, select, compare, clear }: Keyed<Row>): boolean {
  const row = rows.at(cursorNow());
  const by = moves(event);
  if (by) setCursor(Math.min(rows.total - 1, Math.max(0, cursorNow() + by)));
  else if ((event.key === "x" || (event.key === " " && (event.target as HTMLElement).matches(".runs-table"))) && row && select) select(row.id);
  else if ((event.key === "Enter" || event.key === "o") && row && !(event.target as HTMLElement).closest("a, button")) open(row);
  else if (event.key === "c" && compare) compare();
  else if (event.key === "Escape") clear();
  else return false;
  return true;
}

/** Which are selected, by now: keys come faster than pages are drawn. */
export function selectedNow(): string[] {
  return list(new URLSearchParams(location.search), "sel");
}

export function toggleSelected(id: string): void {
  const before = selectedNow();
  change({ sel: joined(before.includes(id) ? before.filter((one) => one !== id) : [...before, id]) }, "replace");
}
