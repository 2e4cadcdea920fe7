// How are numbers, times and sizes written so that a column of them can be read at a glance?

import type { Num, Value } from "./types";

const DASH = "–";

export function toNumber(value: Num | null | undefined): number {
  if (value === "inf") return Infinity;
  if (value === "-inf") return -Infinity;
  return typeof value === "number" ? value : NaN;
}

/** Four digits that count, without a tail of zeros: 0.2134, 12.5, 1.2e-5, 12,345. */
export function number(value: Value | undefined, digits = 4): string {
  if (value === null || value === undefined) return "";
  if (value === "nan" || value === "inf" || value === "-inf") return value;
  if (typeof value !== "number") return String(value);
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e7) return value.toLocaleString("en");
  if (size < 1e-3 || size >= 1e7) return value.toExponential(digits - 2).replace(/\.?0+e/, "e").replace("e+", "e");
  return Number(value.toPrecision(digits)).toLocaleString("en", { maximumFractionDigits: 8 });
}

/** As people say it: 12ms, 3.2s, 12m05s, 3h20m, 4d3h. */
export function duration(seconds: number | null | undefined, digits = 2): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return DASH;
  const s = Math.abs(seconds);
  const sign = seconds < 0 ? "-" : "";
  if (s < 60 || digits > 2) return s > 0 && s < 1 ? `${sign}${number(s * 1000, digits)}ms` : `${sign}${number(s, digits)}s`;
  if (s < 3600) return `${sign}${Math.floor(s / 60)}m${pad(s % 60)}s`;
  if (s < 86400) return `${sign}${Math.floor(s / 3600)}h${pad((s % 3600) / 60)}m`;
  return `${sign}${Math.floor(s / 86400)}d${Math.floor((s % 86400) / 3600)}h`;
}

function pad(value: number): string {
  return String(Math.floor(value)).padStart(2, "0");
}

/** Today the time alone, else the day too. */
export function clock(at: number | null | undefined, now = Date.now() / 1000): string {
  if (at === null || at === undefined) return DASH;
  const then = new Date(at * 1000);
  const time = `${pad(then.getHours())}:${pad(then.getMinutes())}`;
  if (then.toDateString() === new Date(now * 1000).toDateString()) return time;
  const day = `${pad(then.getMonth() + 1)}-${pad(then.getDate())}`;
  return then.getFullYear() === new Date(now * 1000).getFullYear() ? `${day} ${time}` : `${then.getFullYear()}-${day}`;
}

/** To the second, for a tooltip or a list of events. */
export function exact(at: number | null | undefined): string {
  if (at === null || at === undefined) return DASH;
  const then = new Date(at * 1000);
  const day = `${then.getFullYear()}-${pad(then.getMonth() + 1)}-${pad(then.getDate())}`;
  return `${day} ${pad(then.getHours())}:${pad(then.getMinutes())}:${pad(then.getSeconds())}`;
}

/** Roughly how long ago, in one unit. */
export function ago(at: number, now = Date.now() / 1000): string {
  const s = now - at;
  if (s < 5) return "now";
  if (s < 60) return `${Math.floor(s)}s ago`;
  if (s < 3600) return `${Math.floor(s / 60)}m ago`;
  if (s < 86400) return `${Math.floor(s / 3600)}h ago`;
  return s < 86400 * 60 ? `${Math.floor(s / 86400)}d ago` : clock(at, now);
}

export function size(bytes: number | null | undefined, digits = 3): string {
  if (bytes === null || bytes === undefined) return DASH;
  if (bytes < 0) return `-${size(-bytes, digits)}`;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  while (value >= 999.5 && units.length > 1) {
    value /= 1000;
    units.shift();
  }
  return `${units.length === 5 ? Math.round(value) : Number(value.toPrecision(digits)).toLocaleString("en")} ${units[0]}`;
}

/** What tells an id apart at a glance: its end, as the command line shows it. */
export function short(id: string): string {
  return id.slice(-4);
}

export function percent(value: number | null | undefined): string {
  return value === null || value === undefined ? DASH : `${Math.round(value)} %`;
}

/** Of something that goes on: never 100 % before its end. */
export function done(share: number): string {
  return `${share < 0.1 ? Math.floor(share * 1000) / 10 : Math.floor(share * 100)} %`;
}

/** ["gpu:0", "gpu:1", "cpu:0"] as "gpu 0–1, cpu 0"; "gpu:0/4.2", a part of a shared one, as "1/4 of gpu 0". */
export function devices(names: readonly string[]): string {
  const kinds = new Map<string, number[]>();
  const parts = names.flatMap((name) => {
    const [kind = "", index = "", split] = name.split(/[:/.]/);
    if (split) return [`1/${split} of ${kind} ${index}`];
    kinds.set(kind, [...(kinds.get(kind) ?? []), Number(index)]);
    return [];
  });
  return [...[...kinds].map(([kind, indices]) => `${kind} ${ranges(indices)}`), ...parts].join(", ");
}

function ranges(indices: number[]): string {
  const sorted = [...indices].sort((a, b) => a - b);
  const parts: [number, number][] = [];
  for (const index of sorted) {
    const last = parts.at(-1);
    if (last && last[1] === index - 1) last[1] = index;
    else parts.push([index, index]);
  }
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(",");
}

export function plural(count: number, word: string): string {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}

export const ENDED = new Set(["succeeded", "failed", "cancelled", "timed_out", "finished", "killed"]);

/** Seconds from its start to its end, or to now. */
export function runtime(one: { started_at: number | null; ended_at: number | null }): number | null {
  return one.started_at === null ? null : Math.max(0, (one.ended_at ?? Date.now() / 1000) - one.started_at);
}
