// What does uPlot need to be told to draw lines, their raw values faintly behind, and the spread of each point?

import uPlot from "uplot";
import { duration, number, size } from "../lib/format";
import { faded, themed } from "./colours";
import { type Line, smoothed, type XKind } from "./lines";

/** How values are written, with so many digits that count. */
export type Unit = (value: number, digits?: number) => string;

export interface Look {
  unit: Unit;
  x: XKind;
  xLog: boolean;
  yLog: boolean;
  smooth: number;
}

/** By what a metric is called: bytes and seconds are written as such. */
export function unitOf(title: string): Unit {
  if (/bytes$/.test(title)) return size;
  return /_s$/.test(title) ? duration : number;
}

/** What changes how a chart is built, not only what it shows. */
export function structure(lines: readonly Line[], look: Look): string {
  return JSON.stringify([lines.map((line) => [line.key, line.label, line.colour, line.dash, line.low !== null]), look.x, look.xLog, look.yLog, look.smooth > 0]);
}

/** Columns for uPlot: x, then for each line its main values, and faintly raw values or the extremes. */
export function columns(lines: readonly Line[], look: Look): uPlot.AlignedData {
  const tables = lines.map((line): uPlot.AlignedData => {
    const keep = look.xLog ? line.x.flatMap((x, index) => (x > 0 ? [index] : [])) : null;
    const of = (values: readonly (number | null)[]) => positive(keep ? keep.map((index) => values[index] ?? null) : values, look.yLog);
    const main = look.smooth > 0 ? smoothed(line.y, look.smooth) : line.y;
    const rest = line.low && line.high ? [of(line.high), of(line.low)] : look.smooth > 0 ? [of(line.y)] : [];
    return [keep ? keep.map((index) => line.x[index]!) : line.x, of(main), ...rest] as uPlot.AlignedData;
  });
  if (tables.length === 0) return [[]];
  if (tables.length === 1) return tables[0]!;
  // Where a line has no point at another's x it goes on (1 keeps its own gaps).
  return uPlot.join(tables, tables.map((table) => table.map(() => 1)));
}

function positive(values: readonly (number | null)[], wanted: boolean): (number | null)[] {
  return wanted ? values.map((value) => (value !== null && value > 0 ? value : null)) : [...values];
}

const RAW = 0.34; // of a line's colour is in its raw values behind the smooth ones

interface Wishes {
  width: number;
  height: number;
  sync: string;
  range: () => [number, number] | null;
  onZoom: (range: [number, number] | null) => void;
  onCursor: (plot: uPlot) => void;
}

export function options(lines: readonly Line[], look: Look, wishes: Wishes): uPlot.Options {
  const series: uPlot.Series[] = [{}];
  const bands: uPlot.Band[] = [];
  for (const line of lines) {
    const single = { points: { show: line.x.length < 2 }, spanGaps: false };
    series.push({ ...single, label: line.label, stroke: line.colour, width: 1.5, dash: line.dash, points: { show: line.x.length < 40, size: 4, fill: themed("--sheet") } });
    if (line.low) {
      const at = series.length;
      const edge = { stroke: "transparent", width: 0, points: { show: false } };
      series.push({ ...edge }, { ...edge });
      bands.push({ series: [at, at + 1], fill: faded(line.colour, 0.16) });
    } else if (look.smooth > 0) {
      series.push({ ...single, stroke: faded(line.colour, RAW), width: 1, points: { show: false } });
    }
  }
  return {
    width: wishes.width,
    height: wishes.height,
    series,
    bands,
    legend: { show: false },
    padding: [8, 10, 0, 0],
    scales: {
      x: { time: false, distr: look.xLog ? 3 : 1, range: (_plot, low, high) => xRange(...(wishes.range() ?? [low, high]), look.xLog) },
      y: look.yLog ? { distr: 3, range: (_plot, low, high) => yLogRange(low, high) } : { range: (_plot, low, high) => yRange(low, high) },
    },
    axes: [axis(look.x === "time" ? duration : number, 24), axis(look.unit, (_plot, values) => Math.max(56, 10 + 6.4 * Math.max(0, ...(values ?? []).map((value) => value?.length ?? 0))))],
    cursor: {
      sync: { key: wishes.sync, setSeries: false },
      drag: { x: true, y: false, setScale: false },
      points: { size: 6, fill: (plot, at) => (plot.series[at]?.stroke as (plot: uPlot, at: number) => string)(plot, at) },
      bind: {
        dblclick: () => () => {
          wishes.onZoom(null);
          return null;
        },
      },
    },
    hooks: {
      setCursor: [wishes.onCursor],
      setSelect: [
        (plot) => {
          if (plot.select.width < 4) return;
          const [from, to] = [plot.select.left, plot.select.left + plot.select.width];
          wishes.onZoom([plot.posToVal(from, "x"), plot.posToVal(to, "x")]);
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
    },
  };
}

/** Between two ticks of time: what a clock counts in. */
const SECONDS = [
  ...[1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1].flatMap((unit) => [unit, 2 * unit, 5 * unit]),
  ...[10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200],
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].map((days) => days * 86400),
];

function axis(format: Unit, size: uPlot.Axis.Size): uPlot.Axis {
  return {
    size,
    gap: 4,
    font: "11px system-ui, sans-serif",
    stroke: () => themed("--muted"),
    grid: { stroke: () => themed("--line"), width: 1 },
    ticks: { show: false },
    ...(format === duration ? { incrs: SECONDS } : {}),
    values: (_plot, splits) => written(splits, format),
  };
}

/** With as many digits as tell neighbours apart. */
function written(splits: readonly (number | null)[], format: Unit): string[] {
  const known = splits.filter((value) => value !== null);
  const digits = [undefined, 3, 4, 5, 6, 7].find((one) => new Set(known.map((value) => format(value, one))).size === known.length);
  return splits.map((value) => (value === null ? "" : format(value, digits)));
}

/** A lone point gets room around it. A logarithm has nothing at 0 and below: uPlot would look for ticks there for ever. */
function xRange(low: number | null, high: number | null, log: boolean): [number, number] {
  if (low === null || high === null || (log && high <= 0)) return log ? [1, 10] : [0, 1];
  if (log) return low === high ? [low / 2, high * 2] : [low > 0 ? low : Math.min(1, high / 10), high];
  return low === high ? [low - 1, high + 1] : [low, high];
}

/** To the next numbers of one digit, which axes have labels for. */
function yLogRange(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null) return [0.1, 10];
  const room = low === high ? 1.5 : (high / low) ** 0.04;
  const [from, to] = [low / room, high * room];
  const unit = (value: number): number => 10 ** Math.floor(Math.log10(value));
  return [Math.floor(from / unit(from)) * unit(from), Math.ceil(to / unit(to)) * unit(to)];
}

function yRange(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null) return [0, 1];
  if (low === high) return [low - Math.abs(low || 1) * 0.1, high + Math.abs(high || 1) * 0.1];
  const room = (high - low) * 0.06;
  return [low - room, high + room];
}
