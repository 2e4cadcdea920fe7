// The same metric of several runs in one chart.

import { useMemo } from "preact/hooks";
import { ChartBar } from "../charts/ChartBar";
import { ChartCard, type Source } from "../charts/ChartCard";
import { rankColour } from "../charts/colours";
import { grouped } from "../charts/grouping";
import { readSettings } from "../charts/settings";
import { change, useAddress } from "../lib/address";
import { get } from "../lib/api";
import { short } from "../lib/format";
import type { Run, Series } from "../lib/types";

const HEIGHT = 240;
const POINTS = 500;

export function CompareCharts({ runs, metrics, beat }: { runs: readonly Run[]; metrics: readonly string[]; beat: number }) {
  const { query } = useAddress();
  const settings = readSettings(query);
  const search = query.get("m") ?? "";
  const ids = runs.map((run) => run.id);
  const places = useMemo(() => new Map(runs.map((run, index) => [run.id, { run, index }])), [ids.join()]);
  const names = grouped(metrics.filter((name) => name.toLowerCase().includes(search.toLowerCase())), false).map((one) => one.title);
  const source = (name: string): Source => ({
    key: `${name} ${ids.join()}`,
    // Times of different runs lie apart: zoomed in on them, what is here has to do.
    load: (zoom, x, signal) => {
      const bounds = x === "step" && zoom ? { low: Math.floor(zoom[0]), high: Math.ceil(zoom[1]) } : {};
      return get<Series[]>("/api/series", { run: ids, name, points: POINTS, x: x === "time" ? "time" : "step", ...bounds }, signal);
    },
    label: (series) => `${places.get(series.run)?.run.name ?? ""} ${short(series.run)}${series.rank > 0 ? ` rank ${series.rank}` : ""}`,
    colour: (series) => rankColour(places.get(series.run)?.index ?? 0, series.rank),
    since: (series) => places.get(series.run)?.run.started_at ?? series.times[0] ?? 0,
    epochs: null,
  });
  return (
    <>
      <ChartBar settings={settings} epochs={false}>
        <input type="search" value={search} placeholder="Metrics" aria-label="Search metrics" onInput={(event) => change({ m: event.currentTarget.value }, "replace")} />
      </ChartBar>
      <div class="charts">
        {names.map((name) => <ChartCard key={name} title={name} source={source(name)} settings={settings} height={HEIGHT} beat={beat} />)}
      </div>
      {!names.length && <p class="muted nothing">{metrics.length ? "No metric is called so" : "These runs have logged nothing"}</p>}
    </>
  );
}
