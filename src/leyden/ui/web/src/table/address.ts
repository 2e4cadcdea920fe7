// How is a table sorted, and how wide are its columns? As the address says.

import { joined } from "../lib/address";

/** The keys after a click: up, down, and up again; with Shift the column becomes a further key. */
export function sorted(keys: readonly string[], name: string, add: boolean): string[] {
  const now = keys.includes(`-${name}`) ? name : keys.includes(name) ? `-${name}` : name.endsWith("_at") ? `-${name}` : name;
  return add ? [...keys.filter((one) => one !== name && one !== `-${name}`), now] : [now];
}

/** From "name:240": how wide somebody made a column. */
export function readWidths(words: readonly string[]): Map<string, number> {
  return new Map(words.flatMap((word) => {
    const at = word.lastIndexOf(":");
    const width = Number(word.slice(at + 1));
    return at > 0 && width > 0 && width < 2000 ? [[word.slice(0, at), width] as const] : [];
  }));
}

export function writtenWidths(widths: ReadonlyMap<string, number>, name: string, width: number | null): string {
  const now = new Map(widths);
  if (width === null) now.delete(name);
  else now.set(name, width);
  return joined([...now].map(([one, wide]) => `${one}:${wide}`));
}
