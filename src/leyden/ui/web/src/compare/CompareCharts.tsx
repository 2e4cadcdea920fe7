// The same metric of several runs in one chart.

import { useMemo } from "preact/hooks";
import { ChartBar } from "../charts/ChartBar";
import { ChartCard, type Source } from "../charts/ChartCard";
import { rankColour } from "../charts/colours";
import { grouped } from "../charts/grouping";
import { type Epochs, epochsOf, inSteps } from "../charts/lines";
import { readSettings } from "../charts/settings";
import { change, useAddress } from "../lib/address";
import { get, type Query } from "../lib/api";
import { useData } from "../lib/data";
import { short } from "../lib/format";
import type { Run, Series } from "../lib/types";

const HEIGHT = 240;
const POINTS = 500;
const DASHES = [[], [6, 4], [2, 3], [10, 4, 2, 4]]; // a run keeps its colour, a further metric is dashed

export function CompareCharts({ runs, metrics, beat }: { runs: readonly Run[]; metrics: readonly string[]; beat: number }) {
  const { query } = useAddress();
  const settings = readSettings(query);
  const search = query.get("m") ?? "";
  const ids = runs.map((run) => run.id);
  const places = useMemo(() => new Map(runs.map((run, index) => [run.id, { run, index }])), [ids.join()]);
  const names = grouped(metrics.filter((name) => name.toLowerCase().includes(search.toLowerCase())), false).map((one) => one.title);
  const hasEpochs = metrics.includes("epoch");
  const epochs = useEpochs(ids, hasEpochs && settings.x === "epoch", beat);
  const since = (id: string): number => places.get(id)?.run.started_at ?? places.get(id)?.run.created_at ?? 0;
  const source = (title: string): Source => {
    const own = [title, ...(settings.added.get(title) ?? []).filter((name) => metrics.includes(name))];
    return {
      key: `${JSON.stringify(own)} ${ids.join()} ${settings.x === "epoch" ? (epochs?.size ?? "without") : ""}`,
      load: (zoom, x, signal) =>
        get<Series[]>("/api/series", { run: ids, name: own, points: POINTS, x: x === "time" ? "time" : "step", ...bounds(zoom, x, epochs) }, signal),
      id: ({ run, rank }) => `${short(run)}${rank > 0 ? ` ${rank}` : ""}`,
      label: ({ run, rank, name }) => `${places.get(run)?.run.name ?? ""} ${short(run)}${rank > 0 ? ` rank ${rank}` : ""}${own.length > 1 ? ` ${name}` : ""}`,
      colour: ({ run, rank }) => rankColour(places.get(run)?.index ?? 0, rank),
      dash: ({ name }) => DASHES[own.indexOf(name) % DASHES.length]!,
      since: ({ run }) => since(run),
      epochs: ({ run }) => epochs?.get(run) ?? null,
    };
  };
  return (
    <>
      <ChartBar settings={settings} epochs={hasEpochs}>
        <input type="search" value={search} placeholder="Metrics" aria-label="Search metrics" onInput={(event) => change({ m: event.currentTarget.value }, "replace")} />
      </ChartBar>
      <div class="charts">
        {names.map((name) => (
          <ChartCard key={name} title={name} source={source(name)} own={[name]} metrics={metrics} settings={settings} height={HEIGHT} beat={beat} />
        ))}
      </div>
      {!names.length && <p class="muted nothing">{metrics.length ? "No metric is called so" : "These runs have logged nothing"}</p>}
    </>
  );
}

/** What the server is to be asked for of a stretch: times since each run's own start, or the steps of all runs' epochs. */
function bounds(zoom: [number, number] | null, x: string, epochs: ReadonlyMap<string, Epochs> | null): Query {
  if (!zoom) return {};
  if (x === "time") return { low: zoom[0], high: zoom[1], relative: true };
  if (x === "step") return withBounds([inSteps(zoom, null)]);
  return epochs?.size ? withBounds([...epochs.values()].map((one) => inSteps(zoom, one))) : {};
}

function withBounds(stretches: readonly [number, number][]): Query {
  return { low: Math.min(...stretches.map(([low]) => low)), high: Math.max(...stretches.map(([, high]) => high)) };
}

function useEpochs(ids: readonly string[], wanted: boolean, beat: number): ReadonlyMap<string, Epochs> | null {
  const { data } = useData(wanted ? `${ids.join()} ${beat}` : null, (signal) => get<Series[]>("/api/series", { run: ids, name: "epoch", points: 2000, x: "step" }, signal));
  return useMemo(() => {
    if (!data) return null;
    return new Map(data.flatMap((one) => {
      const epochs = epochsOf(one);
      return epochs ? [[one.run, epochs] as const] : [];
    }));
  }, [data]);
}
