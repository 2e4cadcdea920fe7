// How do the points that the server sends become lines: which x, smoothed how much, where are there gaps?

import { toNumber } from "../lib/format";
import type { Points, Series } from "../lib/types";

export type XKind = "step" | "time" | "epoch";

/** A line as it is drawn. `low` and `high` are the extremes of what each point stands for. */
export interface Line {
  key: string;
  label: string;
  colour: string;
  x: number[];
  y: (number | null)[];
  low: (number | null)[] | null;
  high: (number | null)[] | null;
  nan: number;
  inf: number;
  count: number;
  ordered: boolean;
}

export type Epochs = (step: number) => number;

/** Points of one metric as a line; `since` is where relative time begins. */
export function toLine(series: Series, said: { key: string; label: string; colour: string; x: XKind; since: number; epochs: Epochs | null }): Line {
  const xs = series.steps.map((step, index) => {
    if (said.x === "time") return (series.times[index] ?? NaN) - said.since;
    return said.x === "epoch" && said.epochs ? said.epochs(step) : step;
  });
  const main = (series.level ? series.mean : series.values).map(toNumber);
  const order = sortedOrder(xs);
  const pick = (values: readonly number[]): (number | null)[] => order.map((index) => finite(values[index]));
  const spread = series.level > 0;
  return {
    key: said.key,
    label: said.label,
    colour: said.colour,
    x: order.map((index) => xs[index]!),
    y: pick(main),
    low: spread ? pick(series.min.map(toNumber)) : null,
    high: spread ? pick(series.max.map(toNumber)) : null,
    nan: series.nan,
    inf: main.filter((value) => value === Infinity || value === -Infinity).length,
    count: series.count,
    ordered: series.ordered,
  };
}

function finite(value: number | undefined): number | null {
  return value !== undefined && Number.isFinite(value) ? value : null;
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

/** From a step to its epoch, in between by a straight line. */
export function epochsOf(series: Series | undefined): Epochs | null {
  const values = (series?.level ? series.mean : series?.values)?.map(toNumber);
  if (!series || !values?.length) return null;
  const steps = series.steps;
  return (step) => {
    let low = 0;
    let high = steps.length - 1;
    if (step <= steps[0]!) return values[0]!;
    if (step >= steps[high]!) return values[high]!;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (steps[middle]! <= step) low = middle;
      else high = middle;
    }
    const share = (step - steps[low]!) / Math.max(1, steps[high]! - steps[low]!);
    return values[low]! + share * (values[high]! - values[low]!);
  };
}

/** Later points put behind those that are there; where each stands for many, the new ones stand for themselves. */
export function appended(series: Series, more: Omit<Points, "rank">): Series {
  const grown: Series = {
    ...series,
    count: series.count + more.steps.length,
    nan: series.nan + more.values.filter((value) => value === "nan").length,
    steps: [...series.steps, ...more.steps],
    times: [...series.times, ...more.times],
  };
  for (const name of series.level ? (["min", "max", "mean"] as const) : (["values"] as const)) {
    grown[name] = [...series[name], ...more.values];
  }
  return grown;
}
