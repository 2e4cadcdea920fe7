// What does the API answer of sweeps? leyden/core/sweep_views.py says the same in Python.

import { number } from "../lib/format";

export type Param = string | number | boolean;

export interface Rung {
  bracket: number;
  resource: number; // epochs or steps
  reached: number;
  gone_on: number;
  best: number | null;
}

export interface Trial {
  number: number;
  job_id: string; // "" where no job has been made yet
  state: string; // waiting | running | paused | done | failed | dropped
  note: string;
  params: Record<string, Param>;
  value: number | null;
  values: (number | null)[];
  curve: [number, number][]; // resource and value at each rung it reached
  bracket: number;
  resource: number;
  parent: number | null;
  attempts: number;
  device_s: number;
  started_at: number | null;
  ended_at: number | null;
}

export interface Sweep {
  id: string;
  name: string;
  user: string;
  state: string; // running | stopping | stopped | finished | failed
  reason: string;
  strategy: string;
  metrics: string[]; // e.g. ["val_loss:min"]
  resource: string; // epoch | step
  asked: number | null;
  counts: Record<string, number>;
  parallel: number | null;
  per_gpu: number;
  best: Trial | null;
  device_s: number;
  cost: number | null;
  created_at: number;
  ended_at: number | null;
}

export interface SweepDetail {
  sweep: Sweep;
  command: string[];
  space: Record<string, string>;
  rungs: Rung[];
  front: number[];
  best_command: string[];
  trials: Trial[]; // by number
}

export interface Importance {
  trials: number;
  shares: Record<string, number>;
  note: string;
}

/** What trials can be, in the order in which they are counted. */
export const STATES = ["done", "running", "paused", "waiting", "dropped", "failed"] as const;

/** "val_loss" of "val_loss:min". */
export function metricName(metric: string | undefined): string {
  return metric?.replace(/:(min|max)$/, "") ?? "value";
}

export function over(sweep: Sweep): boolean {
  return sweep.state !== "running" && sweep.state !== "stopping";
}

/** Its parameters as people read them, the first few. */
export function said(trial: Trial, most = 8): string {
  const all = Object.entries(trial.params);
  const words = all.slice(0, most).map(([name, value]) => `${name} ${typeof value === "number" ? number(value) : value}`);
  return words.join(", ") + (all.length > most ? ", …" : "");
}

/** As a shell takes it. */
export function shell(words: readonly string[]): string {
  return words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`)).join(" ");
}
