// How are all charts of a page drawn? It stands in the address.

import { change, joined, list } from "../lib/address";
import type { XKind } from "./lines";

export interface Settings {
  x: XKind;
  smooth: number;
  xLog: boolean;
  yLog: boolean;
  logs: ReadonlySet<string>; // charts whose y is the other way round
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
    zoom: low !== undefined && high !== undefined && low < high ? [low, high] : null,
  };
}

export function zoomTo(range: [number, number] | null): void {
  change({ zoom: range ? range.map((value) => Number(value.toPrecision(7))).join(":") : null });
}

export function setLogs(xLog: boolean, yLog: boolean): void {
  change({ log: `${xLog ? "x" : ""}${yLog ? "y" : ""}` });
}

export function toggleLog(settings: Settings, title: string): void {
  const now = new Set(settings.logs);
  if (!now.delete(title)) now.add(title);
  change({ other: joined([...now]) });
}
