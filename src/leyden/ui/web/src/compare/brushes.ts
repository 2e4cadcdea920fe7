// Which stretch of an axis is kept? It stands in the address.

import { change, joined, list } from "../lib/address";

export type Brushes = Record<string, [number, number]>; // shares of an axis

export function readBrushes(query: URLSearchParams): Brushes {
  const found: Brushes = {};
  for (const word of list(query, "keep")) {
    const match = /^(.*):([\d.]+):([\d.]+)$/.exec(word);
    if (match) found[match[1]!] = [Number(match[2]), Number(match[3])];
  }
  return found;
}

export function setBrush(brushes: Brushes, name: string, range: [number, number] | null): void {
  const now = { ...brushes };
  if (range) now[name] = range;
  else delete now[name];
  change({ keep: joined(Object.entries(now).map(([key, [from, to]]) => `${key}:${from.toFixed(3)}:${to.toFixed(3)}`)) }, "replace");
}
