// What do runs' parameters have to do with what came out? Plain arithmetic over a table; nothing is drawn here.

import { toNumber } from "../lib/format";
import type { Num, Run, Value } from "../lib/types";

/** A run, or a trial of a sweep. */
export type Point = Pick<Run, "id" | "name" | "values">;

/** One parameter or metric over all runs. Words get the numbers of their places in `words`. */
export interface Dimension {
  name: string;
  label: string;
  values: number[]; // NaN where a run has none
  words: string[] | null;
  log: boolean;
  low: number;
  high: number;
}

const LOG_FROM = 10; // greatest by least, all positive: rates and sizes are tried by factors
const MOST_WORDS = 24;

/** The column as numbers; null where it says nothing: one value only, or a word of its own for each run. */
export function dimension(runs: readonly Point[], name: string): Dimension | null {
  const raw = runs.map((run) => run.values[name] ?? null);
  const numeric = raw.every((value) => value === null || typeof value === "number" || isWord(value));
  const words = numeric ? null : [...new Set(raw.filter((value) => value !== null).map(String))].sort();
  if (words && words.length > MOST_WORDS) return null;
  const values = raw.map((value) => (value === null ? NaN : words ? words.indexOf(String(value)) : toNumber(value as Num)));
  const known = values.filter(Number.isFinite);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  if (known.length < 2 || low === high) return null;
  return { name, label: name.replace(/^(config|metrics)\./, ""), values, words, log: !words && low > 0 && high / low >= LOG_FROM, low, high };
}

function isWord(value: Value): boolean {
  return value === "nan" || value === "inf" || value === "-inf";
}

/** Where a value stands between least and greatest, 0 to 1. */
export function share(one: Dimension, value: number): number {
  if (one.log) return Math.log(value / one.low) / Math.log(one.high / one.low);
  return (value - one.low) / (one.high - one.low);
}

/** The value that stands there. */
export function valueAt(one: Dimension, at: number): number {
  return one.log ? one.low * (one.high / one.low) ** at : one.low + at * (one.high - one.low);
}

const NEAR = 0.05; // shares of an axis: labels would stand on each other

/** Values to write beside an axis: both ends, and round ones between them. */
export function ticks(one: Dimension): number[] {
  if (one.words) return one.words.map((_, index) => index);
  const round = (one.log ? logTicks(one) : evenTicks(one)).filter((value) => Math.min(share(one, value), 1 - share(one, value)) >= NEAR);
  return [one.low, ...round, one.high];
}

/** Powers of ten; where these are few, 2 and 5 times them too. */
function logTicks({ low, high }: Dimension): number[] {
  const factors = high / low > 1000 ? [1] : high / low > 30 ? [1, 3] : [1, 2, 5];
  const decades = Array.from({ length: Math.ceil(Math.log10(high / low)) + 2 }, (_, index) => 10 ** (Math.floor(Math.log10(low)) + index));
  return decades.flatMap((decade) => factors.map((factor) => decade * factor)).filter((value) => value >= low && value <= high);
}

function evenTicks({ low, high }: Dimension): number[] {
  const rough = (high - low) / 5;
  const base = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * base >= rough)! * base;
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, index) => (first + index) * step);
}

export interface Importance {
  dimension: Dimension;
  share: number; // of the metric's variance that this parameter explains by itself
  correlation: number; // of ranks; NaN for words
  runs: number;
}

const BINS = 8;

/**
 * How much each parameter explains by itself: the variance between its bins over the whole (η², the main effect of a
 * functional ANOVA), less what as many bins explain of noise. What two explain only together is not seen.
 */
export function importances(parameters: readonly Dimension[], metric: Dimension): Importance[] {
  return parameters
    .map((one) => {
      const pairs = one.values.flatMap((x, index): [number, number][] => {
        const y = metric.values[index]!;
        return Number.isFinite(x) && Number.isFinite(y) ? [[x, y]] : [];
      });
      return { dimension: one, share: explained(pairs, one.words !== null), correlation: one.words ? NaN : correlation(pairs), runs: pairs.length };
    })
    .sort((a, b) => b.share - a.share);
}

function explained(pairs: readonly [number, number][], words: boolean): number {
  const bins = binned(pairs, words);
  const n = pairs.length;
  const mean = average(pairs.map(([, y]) => y));
  const total = pairs.reduce((sum, [, y]) => sum + (y - mean) ** 2, 0);
  const between = bins.reduce((sum, ys) => sum + ys.length * (average(ys) - mean) ** 2, 0);
  const freedom = n - bins.length;
  if (!total || freedom < 1) return 0;
  return Math.max(0, 1 - ((1 - between / total) * (n - 1)) / freedom);
}

/** Equal values stay together; else as many runs in each. */
function binned(pairs: readonly [number, number][], words: boolean): number[][] {
  const distinct = new Set(pairs.map(([x]) => x)).size;
  const count = words ? distinct : Math.min(distinct, BINS, Math.max(2, Math.floor(pairs.length / 4)));
  const sorted = [...pairs].sort((a, b) => a[0] - b[0]);
  const found = new Map<number, number[]>();
  let bin = 0;
  sorted.forEach(([x, y], index) => {
    const fresh = index > 0 && x !== sorted[index - 1]![0];
    if (fresh && (distinct <= count || index >= ((bin + 1) * sorted.length) / count)) bin++;
    found.set(bin, [...(found.get(bin) ?? []), y]);
  });
  return [...found.values()];
}

/** Spearman's: of the ranks, so that a logarithm changes nothing. */
function correlation(pairs: readonly [number, number][]): number {
  const xs = ranks(pairs.map(([x]) => x));
  const ys = ranks(pairs.map(([, y]) => y));
  const [mx, my] = [average(xs), average(ys)];
  let [xy, xx, yy] = [0, 0, 0];
  xs.forEach((x, index) => {
    const y = ys[index]!;
    xy += (x - mx) * (y - my);
    xx += (x - mx) ** 2;
    yy += (y - my) ** 2;
  });
  return xx && yy ? xy / Math.sqrt(xx * yy) : 0;
}

function ranks(values: readonly number[]): number[] {
  const order = values.map((_, index) => index).sort((a, b) => values[a]! - values[b]!);
  const found = new Array<number>(values.length);
  for (let from = 0; from < order.length; ) {
    let to = from;
    while (to + 1 < order.length && values[order[to + 1]!] === values[order[from]!]) to++;
    for (let at = from; at <= to; at++) found[order[at]!] = (from + to) / 2;
    from = to + 1;
  }
  return found;
}

function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}
