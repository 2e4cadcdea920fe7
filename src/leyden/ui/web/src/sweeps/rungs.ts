// Where does each trial stand at each rung, and where is it drawn? Plain arithmetic; nothing is drawn here.

import type { Dimension } from "../compare/parameters";
import type { Rung, Trial } from "./types";

/** What became of a trial at a rung. */
export const STANDINGS = ["gone on", "training", "waiting", "paused", "done", "dropped", "failed"] as const;
export type Standing = (typeof STANDINGS)[number];

export interface Dot {
  trial: Trial;
  value: number;
  standing: Standing;
}

export interface Column {
  rung: Rung;
  dots: Dot[]; // least value first
  coming: number; // trials that train for this rung now
}

/** The rungs of one bracket with the trials that were measured there. */
export function columnsOf(rungs: readonly Rung[], trials: readonly Trial[], bracket: number): Column[] {
  const mine = trials.filter((one) => one.bracket === bracket);
  const known = levels(rungs, bracket);
  return known.map((rung, index) => {
    const [below, above] = [known[index - 1]?.resource ?? 0, known[index + 1]?.resource ?? Infinity];
    const dots = mine.flatMap((trial): Dot[] => {
      const value = between(trial, rung.resource, above);
      return value === null ? [] : [{ trial, value, standing: reached(trial) >= above ? "gone on" : (STANDING[trial.state] ?? "dropped") }];
    });
    const coming = mine.filter((one) => one.state === "running" && reached(one) >= below && reached(one) < rung.resource).length;
    return { rung, dots: dots.sort((a, b) => a.value - b.value), coming };
  });
}

function levels(rungs: readonly Rung[], bracket: number): Rung[] {
  return rungs.filter((one) => one.bracket === bracket).sort((a, b) => a.resource - b.resource);
}

/** What a trial was measured with at a rung. A rung of 300 steps is measured where validation comes next: at 312, say. */
export function valueAt(trial: Trial, rungs: readonly Rung[], resource: number): number | null {
  const above = levels(rungs, trial.bracket).find((one) => one.resource > resource)?.resource ?? Infinity;
  return between(trial, resource, above);
}

function between(trial: Trial, from: number, to: number): number | null {
  return trial.curve.find(([at]) => at >= from && at < to)?.[1] ?? null;
}

function reached(trial: Trial): number {
  return Math.max(trial.resource, trial.curve.at(-1)?.[0] ?? 0); // where it is no number the curve has nothing
}

const STANDING: Record<string, Standing> = { running: "training", waiting: "waiting", paused: "paused", done: "done", failed: "failed" };

/** Values as an axis. */
export function axis(name: string, values: readonly number[], log: boolean): Dimension {
  const known = values.filter(Number.isFinite);
  const [least, greatest] = [known.reduce((a, b) => Math.min(a, b), Infinity), known.reduce((a, b) => Math.max(a, b), -Infinity)];
  const [low, high] = known.length === 0 ? [0, 1] : least === greatest ? [least - Math.abs(least || 1) / 10, greatest + Math.abs(greatest || 1) / 10] : [least, greatest];
  return { name, label: name, values: [...values], words: null, log: log && low > 0, low, high };
}

const GOLDEN = 0.618; // its multiples fall evenly, and in no rows

/** How far beside the middle of its column each dot lies, so that none covers another; `heights` grow or fall. */
export function beside(heights: readonly number[], radius: number, room: number): number[] {
  const step = radius + 0.5;
  const found: number[] = [];
  let from = 0; // what lies further off in height is in nobody's way
  heights.forEach((height, index) => {
    while (Math.abs(heights[from]! - height) >= 2 * radius) from++;
    const free = (offset: number): boolean => {
      for (let other = from; other < index; other++) {
        if ((heights[other]! - height) ** 2 + (found[other]! - offset) ** 2 < 4 * radius * radius) return false;
      }
      return true;
    };
    let offset = 0;
    for (let at = 0; !free(offset) && Math.abs(offset) <= room / 2; at++) offset = (at % 2 ? -1 : 1) * (Math.floor(at / 2) + 1) * step;
    found.push(Math.abs(offset) <= room / 2 ? offset : (((index * GOLDEN) % 1) - 0.5) * room); // full: they lie over each other
  });
  return found;
}

/** Whether rungs lie at factors rather than at even distances. */
export function byFactors(resources: readonly number[]): boolean {
  const [last = 1, before = 1, another = 1] = [...resources].sort((a, b) => b - a);
  return resources.length > 2 ? last - before > 1.5 * (before - another) : last >= 2 * before;
}
