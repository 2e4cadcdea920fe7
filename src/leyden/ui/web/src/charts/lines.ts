// How do the points that the server sends become lines: which x, smoothed how much, where are there gaps?

import { toNumber } from "../lib/format";
import type { Points, Series } from "../lib/types";

export type XKind = "step" | "time" | "epoch";

/** A line as it is drawn. `low` and `high` are the extremes of what each point stands for. */
export interface Line {
  key: string;
  id: string; // as the address calls it, the same in all charts
  label: string;
  colour: string;
  dash: number[]; // empty: a line without gaps
  x: number[];
  y: (number | null)[];
  low: (number | null)[] | null;
  high: (number | null)[] | null;
  nan: number;
  inf: number;
  count: number;
  ordered: boolean;
}

/** Which epoch a step is in, and which step an epoch begins with. */
export interface Epochs {
  at: (step: number) => number;
  step: (epoch: number) => number;
}

type Said = Pick<Line, "key" | "id" | "label" | "colour" | "dash"> & { x: XKind; since: number; epochs: Epochs | null };

/** Points of one metric as a line; `since` is where relative time begins. */
export function toLine(series: Series, said: Said): Line {
  const xs = series.steps.map((step, index) => {
    if (said.x === "time") return (series.times[index] ?? NaN) - said.since;
    return said.x === "epoch" && said.epochs ? said.epochs.at(step) : step;
  });
  const main = (series.level ? series.mean : series.values).map(toNumber);
  const order = sortedOrder(xs);
  const pick = (values: readonly number[]): (number | null)[] => order.map((index) => finite(values[index]));
  const spread = series.level > 0;
  return {
    key: said.key,
    id: said.id,
    label: said.label,
    colour: said.colour,
    dash: said.dash,
    x: order.map((index) => xs[index]!),
    y: pick(main),
    low: spread ? pick(series.min.map(toNumber)) : null,
    high: spread ? pick(series.max.map(toNumber)) : null,
    nan: series.nan,
    inf: main.filter((value) => Math.abs(value) > GREATEST).length,
    count: series.count,
    ordered: series.ordered,
  };
}

const GREATEST = 1e300; // what is drawn: of two greater ones the difference may be infinite

function finite(value: number | undefined): number | null {
  return value !== undefined && Math.abs(value) <= GREATEST ? value : null;
}

/** uPlot looks an x up by halving: x must grow. Points that share one x stay in the order they were logged. */
function sortedOrder(xs: readonly number[]): number[] {
  const order = xs.map((_, index) => index).filter((index) => Number.isFinite(xs[index]));
  if (order.every((index, at) => at === 0 || xs[order[at - 1]!]! <= xs[index]!)) return order;
  return order.sort((a, b) => xs[a]! - xs[b]! || a - b);
}

/** Exponential moving average that starts without a bias (Kingma and Ba 2015, section 3); gaps stay gaps. */
export function smoothed(values: readonly (number | null)[], weight: number): (number | null)[] {
  let sum = 0;
  let share = 1;
  return values.map((value) => {
    if (value === null) return null;
    sum = sum * weight + (1 - weight) * value;
    share *= weight;
    return sum / (1 - share);
  });
}

/** Between steps at which the epoch is known it is on a straight line. */
export function epochsOf(series: Series | undefined): Epochs | null {
  const values = (series?.level ? series.mean : series?.values)?.map(toNumber);
  if (!series || !values?.length) return null;
  const steps = series.steps;
  return { at: (step) => between(steps, values, step), step: (epoch) => between(values, steps, epoch) };
}

/** The whole steps around a stretch of steps, or of epochs. */
export function inSteps([low, high]: readonly [number, number], epochs: Epochs | null): [number, number] {
  return epochs ? [Math.floor(epochs.step(low)), Math.ceil(epochs.step(high))] : [Math.floor(low), Math.ceil(high)];
}

/** Where `from` grows as x does, what `to` is at x. */
function between(from: readonly number[], to: readonly number[], x: number): number {
  let low = 0;
  let high = from.length - 1;
  if (x <= from[0]!) return to[0]!;
  if (x >= from[high]!) return to[high]!;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (from[middle]! <= x) low = middle;
    else high = middle;
  }
  const share = (x - from[low]!) / (from[high]! - from[low]! || 1);
  return to[low]! + share * (to[high]! - to[low]!);
}

/** Later points put behind those that are there; where each stands for many, so do the new ones. */
export function appended(series: Series, more: Omit<Points, "rank">): Series {
  const grown: Series = {
    ...series,
    count: series.count + more.steps.length,
    nan: series.nan + more.values.filter((value) => value === "nan").length,
    steps: [...series.steps],
    times: [...series.times],
    newest: more.times.at(-1)!,
  };
  for (const name of ["values", "min", "max", "mean"] as const) grown[name] = [...series[name]];
  more.values.forEach((value, index) => {
    if (series.level && grown.fill && grown.fill < series.per) return fold(grown, toNumber(value));
    grown.steps.push(more.steps[index]!);
    grown.times.push(more.times[index]!);
    for (const name of series.level ? (["min", "max", "mean"] as const) : (["values"] as const)) grown[name].push(value);
    grown.fill = Number.isNaN(toNumber(value)) ? 0 : 1;
  });
  return grown;
}

/** One more into the last group. */
function fold(series: Series, value: number): void {
  if (Number.isNaN(value)) return;
  const last = series.mean.length - 1;
  const [min, max, mean] = [series.min, series.max, series.mean].map((some) => toNumber(some[last])) as [number, number, number];
  series.min[last] = Math.min(min, value);
  series.max[last] = Math.max(max, value);
  series.mean[last] = mean + (value - mean) / ++series.fill!;
}
