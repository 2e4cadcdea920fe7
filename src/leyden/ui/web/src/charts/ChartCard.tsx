// One chart in its frame: asks for its points once it is seen, again for detail when zoomed, grows while a run goes on.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type uPlot from "uplot";
import type { Fault } from "../lib/api";
import { useData } from "../lib/data";
import { plural } from "../lib/format";
import { csv, saveText } from "../lib/save";
import type { Fresh, Num, Points, Series } from "../lib/types";
import { Wrong } from "../parts/messages";
import { AddMetric } from "./AddMetric";
import { Chart } from "./Chart";
import { appended, type Epochs, type Line, toLine } from "./lines";
import { unitOf } from "./plot";
import { savePicture } from "./picture";
import { type Settings, toggle, toggleAdded, zoomTo } from "./settings";

export const POINTS = 1000;
const LEGEND_PX = 28; // of a line

export interface Source {
  key: string; // another key: other points
  load: (zoom: [number, number] | null, x: Settings["x"], signal: AbortSignal) => Promise<Series[]>;
  id: (series: Series) => string; // of its line, the same in all charts
  label: (series: Series) => string;
  colour: (series: Series) => string;
  dash: (series: Series) => number[];
  since: (series: Series) => number; // where relative time begins
  epochs: (series: Series) => Epochs | null;
  listen?: (hear: (fresh: Fresh) => void) => () => void;
}

interface Props {
  title: string;
  source: Source;
  own: readonly string[]; // metrics that are always drawn here
  metrics: readonly string[]; // those that can be
  settings: Settings;
  height: number;
  beat: number;
}

export function ChartCard({ title, source, own, metrics, settings, height, beat }: Props) {
  const frame = useRef<HTMLElement>(null);
  const plot = useRef<uPlot | null>(null);
  const seen = useSeenOnce(frame);
  const { zoom, x, hidden } = settings;
  const wide = settings.wide.has(title);
  const yLog = settings.yLog !== settings.logs.has(title);
  const loaded = useData(seen ? `${source.key} ${x} ${zoom?.join(":") ?? ""}` : null, (signal) => source.load(zoom, x, signal));
  const grown = useGrowing(loaded.data, zoom ? null : (source.listen ?? null), loaded.reload);
  useEffect(() => {
    if (beat && seen) loaded.reload();
  }, [beat]);
  const lines = useMemo(
    () => (grown ?? []).map((series) => toLine(series, {
      key: `${series.run} ${series.name} ${series.rank}`, id: source.id(series),
      label: source.label(series), colour: source.colour(series), dash: source.dash(series), x, since: source.since(series), epochs: source.epochs(series),
    })),
    [grown, x, source.key],
  );
  const shown = lines.filter((line) => !hidden.has(line.id));
  const look = { unit: unitOf(title), x, xLog: settings.xLog, yLog, smooth: settings.smooth };
  return (
    <section class={`chart${wide ? " wide" : ""}`} ref={frame} aria-label={`chart of ${title}`}>
      <h3>
        <span class="title" title={title}>{title}</span>
        <Remarks lines={lines} />
        <span class="grow" />
        <span class="tools">
          <AddMetric title={title} metrics={metrics} own={own} added={settings.added.get(title) ?? []} onToggle={(name) => toggleAdded(settings, title, name)} />
          <button class={`plain${yLog ? " on" : ""}`} title="Logarithmic y" aria-pressed={yLog} onClick={() => toggle("other", settings.logs, title)}>log</button>
          <button class="plain" title="Save as a picture" onClick={() => plot.current && savePicture(plot.current, title, shown)}>PNG</button>
          <button class="plain" title="Save the points that are shown" onClick={() => saveText(`${title}.csv`, asCsv(shown, x))}>CSV</button>
          <button class="plain" title={wide ? "Smaller" : "Larger"} aria-label="Larger" aria-pressed={wide} onClick={() => toggle("wide", settings.wide, title)}>⤢</button>
        </span>
      </h3>
      <Trouble fault={loaded.fault} retry={loaded.reload} />
      {!seen ? (
        <div style={{ height: `${height + LEGEND_PX}px` }} />
      ) : lines.length > 0 || (!loaded.data && !loaded.fault) ? (
        <Chart
          lines={lines} hidden={hidden} onHide={(id) => toggle("hide", hidden, id)} look={look} height={wide ? height * 2 : height} sync={x} range={zoom}
          onZoom={zoomTo} hold={(one) => (plot.current = one)}
        />
      ) : (
        !loaded.fault && <p class="muted nothing">No points{zoom ? " here" : " yet"}</p>
      )}
    </section>
  );
}

/** A server that is away is said once, at the head of the page. */
function Trouble({ fault, retry }: { fault: Fault | null; retry: () => void }) {
  if (!fault) return null;
  return fault.status ? <Wrong fault={fault} retry={retry} /> : <p class="warned nothing">Not up to date: the server does not answer</p>;
}

/** What a line alone would not tell. */
function Remarks({ lines }: { lines: readonly Line[] }) {
  const nan = lines.reduce((sum, line) => sum + line.nan, 0);
  const inf = lines.reduce((sum, line) => sum + line.inf, 0);
  return (
    <>
      {nan > 0 && <span class="notanumber" title="Values that are no number; the line has gaps there">{nan.toLocaleString("en")} NaN</span>}
      {inf > 0 && <span class="notanumber">{inf} inf</span>}
      {lines.some((line) => !line.ordered) && <span class="warned" title="Steps were not logged in growing order; the points are drawn by step">steps go back</span>}
      {lines.some((line) => line.low) && (
        <span class="faint" title={`${plural(lines.reduce((sum, line) => sum + line.count, 0), "point")}; each drawn one is the mean of many, between least and greatest. Zoom in for detail.`}>
          mean of many
        </span>
      )}
    </>
  );
}

/** The points with those that came since. */
function useGrowing(data: Series[] | null, listen: Source["listen"] | null, reload: () => void): Series[] | null {
  const [grown, setGrown] = useState(data);
  const more = useRef(0);
  useEffect(() => {
    more.current = 0;
    setGrown((before) => (listen ? data?.map((series) => since(series, before?.find((one) => same(one, series)))) : data) ?? null);
  }, [data]);
  useEffect(() => {
    if (!listen || !data) return undefined;
    return listen((fresh) => {
      if (fresh.reset) return reload();
      setGrown((before) => before?.map((series) => {
        const grown = since(series, pointsOf(fresh, series));
        more.current += grown.count - series.count;
        return grown;
      }) ?? before);
      if (more.current > POINTS) reload();
    });
  }, [data, listen]);
  return grown;
}

/** With those points that are newer; some may have come while it was asked for. */
function since(series: Series, points: (Pick<Points, "steps" | "times" | "values"> & { level?: number; mean?: Num[] }) | undefined): Series {
  const last = series.newest ?? series.times.at(-1) ?? -Infinity;
  const keep = points?.times.flatMap((time, index) => (time > last ? [index] : [])) ?? [];
  if (!points || !keep.length) return series;
  const values = points.level ? points.mean! : points.values;
  const pick = <T,>(some: T[]): T[] => keep.map((index) => some[index]!);
  return appended(series, { steps: pick(points.steps), times: pick(points.times), values: pick(values) });
}

function same(one: Series, other: Series): boolean {
  return one.run === other.run && one.name === other.name && one.rank === other.rank;
}

function pointsOf(fresh: Fresh, series: Series): Points | undefined {
  const first = fresh.points?.[series.name];
  if (first?.rank === series.rank) return first;
  return fresh.ranks?.find((one) => one.name === series.name && one.rank === series.rank);
}

function useSeenOnce(frame: { current: HTMLElement | null }): boolean {
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    if (!frame.current || seen) return undefined;
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((one) => one.isIntersecting)) setSeen(true);
    }, { rootMargin: "300px" });
    observer.observe(frame.current);
    return () => observer.disconnect();
  }, [seen]);
  return seen;
}

function asCsv(lines: readonly Line[], x: string): string {
  const rows = lines.flatMap((line) => line.x.map((at, index) => [line.label, at, line.y[index], line.low?.[index], line.high?.[index]]));
  return csv([["metric", x, "value", "least", "greatest"], ...rows]);
}
