// How are all charts of a page drawn? It stands in the address.

import { change, joined, list } from "../lib/address";
import type { XKind } from "./lines";

export interface Settings {
  x: XKind;
  smooth: number;
  xLog: boolean;
  yLog: boolean;
  logs: ReadonlySet<string>; // charts whose y is the other way round
  wide: ReadonlySet<string>; // charts over the whole width
  hidden: ReadonlySet<string>; // lines, in all charts
  added: ReadonlyMap<string, readonly string[]>; // metrics that somebody put into a chart
  zoom: [number, number] | null;
}

export function readSettings(query: URLSearchParams, x: XKind = "step"): Settings {
  const said = query.get("x");
  const [low, high] = (query.get("zoom") ?? "").split(":").map(Number);
  return {
    x: said === "step" || said === "time" || said === "epoch" ? said : x,
    smooth: Math.min(0.99, Math.max(0, Number(query.get("smooth")) || 0)),
    xLog: (query.get("log") ?? "").includes("x"),
    yLog: (query.get("log") ?? "").includes("y"),
    logs: new Set(list(query, "other")),
    wide: new Set(list(query, "wide")),
    hidden: new Set(list(query, "hide")),
    added: readAdded(list(query, "with")),
    zoom: low !== undefined && high !== undefined && low < high && Number.isFinite(high - low) ? [low, high] : null,
  };
}

export function zoomTo(range: [number, number] | null): void {
  change({ zoom: range ? range.map((value) => Number(value.toPrecision(7))).join(":") : null });
}

export function setLogs(xLog: boolean, yLog: boolean): void {
  change({ log: `${xLog ? "x" : ""}${yLog ? "y" : ""}` });
}

/** Put a word into a list of the address, or take it out. */
export function toggle(name: "other" | "wide" | "hide", known: ReadonlySet<string>, word: string): void {
  const now = new Set(known);
  if (!now.delete(word)) now.add(word);
  change({ [name]: joined([...now]) });
}

/** Draw a metric in a chart too, or no longer. */
export function toggleAdded(settings: Settings, title: string, metric: string): void {
  const before = settings.added.get(title) ?? [];
  const now = before.includes(metric) ? before.filter((one) => one !== metric) : [...before, metric];
  const pairs = [...new Map(settings.added).set(title, now)].flatMap(([chart, names]) => names.map((name) => `${escaped(chart)}|${escaped(name)}`));
  change({ with: joined(pairs) });
}

/** From "loss|lr": lr is drawn in the chart of loss too. */
function readAdded(words: readonly string[]): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const word of words) {
    const [chart = "", name = ""] = word.split("|").map((part) => part.replaceAll("%7C", "|").replaceAll("%25", "%"));
    if (chart && name) found.set(chart, [...(found.get(chart) ?? []), name]);
  }
  return found;
}

function escaped(text: string): string {
  return text.replaceAll("%", "%25").replaceAll("|", "%7C");
}
