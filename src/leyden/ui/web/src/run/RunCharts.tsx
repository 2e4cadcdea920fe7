// All metrics of a run as charts: what belongs together in one, each drawn once it is seen.

import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ChartBar } from "../charts/ChartBar";
import { ChartCard, POINTS, type Source } from "../charts/ChartCard";
import { rankColour } from "../charts/colours";
import { grouped } from "../charts/grouping";
import { type Epochs, epochsOf, inSteps } from "../charts/lines";
import { readSettings, type Settings } from "../charts/settings";
import { change, useAddress } from "../lib/address";
import { get, url } from "../lib/api";
import { useData } from "../lib/data";
import { useStream } from "../lib/live";
import type { Fresh, Metric, Run, Series } from "../lib/types";
import { Empty } from "../parts/messages";

const HEIGHT = 200;
const EPOCHS_MS = 5000;
const MOST_NAMES = 60; // in one stream: an address has an end
type Hear = (fresh: Fresh) => void;

interface Props {
  run: Run;
  metrics: readonly Metric[];
  x: Settings["x"];
  active: boolean;
  tail: string;
}

export function RunCharts({ run, metrics, x, active, tail }: Props) {
  const { query } = useAddress();
  const settings = readSettings(query, x);
  const search = query.get("m") ?? "";
  const together = query.get("overlay") !== "0";
  const hasEpochs = metrics.some((one) => one.name === "epoch");
  const wanted = hasEpochs && settings.x === "epoch" ? "epoch" : null;
  const epochSeries = useData(wanted, (signal) => get<Series[]>(`/api/runs/${run.id}/series`, { name: "epoch", points: 5000, x: "step" }, signal), active ? EPOCHS_MS : 0).data;
  const epochs = useMemo(() => epochsOf(epochSeries?.[0]), [epochSeries]);
  const { listen } = useLivePoints(run.id, active);
  const all = metrics.map((one) => one.name);
  const names = all.filter((name) => name.toLowerCase().includes(search.toLowerCase()));
  const charts = grouped(names, together);
  const since = run.started_at ?? run.created_at;
  if (!metrics.length) {
    return (
      <Empty title={active ? "Nothing was logged yet" : "Nothing was logged"}>
        <p class="muted">A script logs with <code>{'leyden.log({"loss": loss}, step=step)'}</code>; a Trainer does so by itself with <code>self.log</code>.</p>
        {run.job_id && <p><code>leyden logs {tail}</code> <span class="muted">shows what it printed</span></p>}
      </Empty>
    );
  }
  return (
    <>
      <ChartBar settings={settings} epochs={hasEpochs}>
        <input type="search" value={search} placeholder="Metrics" aria-label="Search metrics" onInput={(event) => change({ m: event.currentTarget.value }, "replace")} />
        <button class={together ? "on" : ""} aria-pressed={together} title="One chart for loss, train_loss and val_loss" onClick={() => change({ overlay: together ? "0" : null })}>overlay</button>
      </ChartBar>
      <div class="charts">
        {charts.map(({ title, names: own }) => (
          <RunChart
            key={title} run={run.id} title={title} own={own} all={all}
            settings={settings} since={since} epochs={epochs} listen={listen}
          />
        ))}
      </div>
      {!charts.length && <p class="muted nothing">No metric is called so</p>}
    </>
  );
}

function RunChart({ run, title, own, all, settings, since, epochs, listen }: {
  run: string;
  title: string;
  own: readonly string[];
  all: readonly string[];
  settings: Settings;
  since: number;
  epochs: Epochs | null;
  listen: (names: readonly string[], hear: Hear) => () => void;
}) {
  const names = [...own, ...(settings.added.get(title) ?? []).filter((name) => all.includes(name) && !own.includes(name))];
  const key = JSON.stringify(names);
  const hears = useCallback((hear: Hear) => listen(names, hear), [key, listen]);
  const source: Source = {
    key: settings.x === "epoch" && !epochs ? `${key} without epochs` : key,
    load: (zoom, x, signal) => {
      const [low, high] = zoom && (x === "time" ? zoom.map((at) => at + since) : inSteps(zoom, x === "epoch" ? epochs : null)) || [];
      return get<Series[]>(`/api/runs/${run}/series`, { name: names, points: POINTS, x: x === "time" ? "time" : "step", low, high }, signal);
    },
    id: (series) => (series.rank > 0 ? `${series.name} ${series.rank}` : series.name),
    label: (series) => (series.rank > 0 ? `${series.name} (rank ${series.rank})` : series.name),
    colour: (series) => rankColour(names.indexOf(series.name), series.rank),
    dash: () => [],
    since: () => since,
    epochs: () => epochs,
    listen: hears,
  };
  return <ChartCard title={title} source={source} own={own} metrics={all} settings={settings} height={HEIGHT} beat={0} />;
}

/** One stream for all charts that are on the page, whose names it asks for. */
function useLivePoints(run: string, active: boolean) {
  const hearers = useRef(new Map<Hear, readonly string[]>());
  const [names, setNames] = useState("");
  const timer = useRef(0);
  const gather = useCallback(() => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      const all = [...new Set([...hearers.current.values()].flat())].slice(0, MOST_NAMES).sort();
      setNames(JSON.stringify(all));
    }, 300) as unknown as number;
  }, []);
  const listen = useCallback((wanted: readonly string[], hear: Hear) => {
    hearers.current.set(hear, wanted);
    gather();
    return () => {
      hearers.current.delete(hear);
      gather();
    };
  }, []);
  useEffect(() => () => clearTimeout(timer.current), []);
  const tell = (fresh: Fresh): void => hearers.current.forEach((_, hear) => hear(fresh));
  const asked = names ? (JSON.parse(names) as string[]) : [];
  useStream(active && asked.length ? url("/api/live", { run, name: asked }) : null, {
    message: (data) => tell(data as Fresh),
    opened: () => tell({ reset: true }), // what came before the stream did, or while it was broken
  });
  return { listen };
}
