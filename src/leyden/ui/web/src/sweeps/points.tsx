// Trials as points of a figure: what each was given, what it came to.

import type { Point } from "../compare/parameters";
import type { Value } from "../lib/types";
import { valueAt } from "./rungs";
import { metricName, type SweepDetail } from "./types";

/** Those that have a value; with `resource` as it was there: fair, where some have trained further than others. */
export function points({ sweep, trials, rungs, front }: SweepDetail, resource: number | null): Point[] {
  const best = new Set(front);
  return trials.flatMap((one): Point[] => {
    const values: Record<string, Value> = { trial: one.number, front: best.has(one.number) };
    for (const [name, value] of Object.entries(one.params)) values[`config.${name}`] = value;
    sweep.metrics.forEach((metric, index) => {
      values[`metrics.${metricName(metric)}`] = resource !== null ? valueAt(one, rungs, resource) : index ? (one.values[index] ?? null) : (one.value ?? one.values[0] ?? null);
    });
    const known = sweep.metrics.some((metric) => values[`metrics.${metricName(metric)}`] !== null);
    return known && one.job_id ? [{ id: one.job_id, name: `trial ${one.number}`, values }] : [];
  });
}

/** As many as a figure can show: each n-th, which favours none. */
export function thinned(all: readonly Point[], most: number): { shown: Point[]; every: number } {
  const every = Math.ceil(all.length / most) || 1;
  return { shown: all.filter((_, index) => index % every === 0), every };
}

export function Thinned({ every }: { every: number }) {
  return every > 1 ? <span class="muted">one of {every} is drawn</span> : null;
}
