// Several runs, those that were selected or those that a filter finds: charts, what differs, which parameter mattered.

import { useEffect } from "preact/hooks";
import type { Pulse } from "../app";
import { colour } from "../charts/colours";
import { change, list, useAddress } from "../lib/address";
import { get } from "../lib/api";
import { useData } from "../lib/data";
import { useSlowBeat } from "../lib/live";
import { plural, short } from "../lib/format";
import type { Names, Run, RunsPage } from "../lib/types";
import { Link } from "../parts/Link";
import { Empty, Wrong } from "../parts/messages";
import { CompareCharts } from "./CompareCharts";
import { DifferencesTab } from "./DifferencesTab";
import { ParametersTab } from "./ParametersTab";

const AGAIN_MS = 5000;
const MOST = 1000;
const MOST_LINES = 100; // the server draws no more at a time
const MOST_NAMES = 200;
const VIEWS = ["charts", "differences", "parameters"] as const;

interface Found {
  runs: Run[];
  total: number;
  config: string[];
  metrics: string[];
}

export function ComparePage({ pulse }: { pulse: Pulse }) {
  const { query } = useAddress();
  const ids = list(query, "runs");
  const filter = ids.length ? ids.map((id) => `id=${id}`).join(" or ") : (query.get("q") ?? "");
  const { data, fault, reload } = useData(filter || ids.length ? filter : null, (signal) => load(filter, ids, signal));
  const concerned = data?.runs.some((run) => pulse.changed.has(run.id)) || pulse.changed.has("*");
  const beat = useSlowBeat(concerned ? pulse.beat : 0, AGAIN_MS);
  useEffect(() => {
    if (beat) reload();
  }, [beat]);
  if (!filter) {
    return <Empty title="No runs to compare"><p class="muted">Select some in the <Link href="/runs">table of runs</Link> with <kbd>x</kbd>, then press <kbd>c</kbd>.</p></Empty>;
  }
  if (!data) return fault ? <Wrong fault={fault} retry={reload} /> : <p class="muted nothing">…</p>;
  const said = query.get("view");
  const view = VIEWS.find((one) => one === said) ?? "charts";
  const shown = data.metrics.filter((name) => !name.startsWith("system/"));
  return (
    <div class="compare">
      {fault && <Wrong fault={fault} retry={reload} />}
      <Who runs={data.runs} total={data.total} ids={ids} filter={ids.length ? "" : filter} />
      <nav class="tabs" aria-label="Ways to compare">
        {VIEWS.map((one) => (
          <a key={one} href={`?${one}`} class={one === view ? "here" : ""} aria-current={one === view ? "page" : undefined} onClick={(event) => (event.preventDefault(), change({ view: one === "charts" ? null : one }))}>
            {one}
          </a>
        ))}
      </nav>
      {view === "charts" && <CompareCharts runs={data.runs.slice(0, MOST_LINES)} metrics={shown} beat={beat} />}
      {view === "differences" && <DifferencesTab runs={data.runs} config={data.config} metrics={shown} />}
      {view === "parameters" && <ParametersTab runs={data.runs} config={data.config} metrics={shown} />}
    </div>
  );
}

async function load(filter: string, ids: readonly string[], signal: AbortSignal): Promise<Found> {
  const names = await get<Names>("/api/runs/names", { filter, archived: true }, signal);
  const config = names.config.slice(0, MOST_NAMES).map((one) => `config.${one.name}`);
  const metrics = names.metrics.slice(0, MOST_NAMES).map((one) => one.name);
  const columns = [...config, ...metrics].filter((name) => !name.includes('"')).map((name) => (/[,\s]/.test(name) ? `"${name}"` : name)).join();
  const page = await get<RunsPage>("/api/runs", { filter, columns, limit: MOST, sort: "-created_at", archived: true }, signal);
  const place = new Map(ids.map((id, index) => [id, index]));
  const runs = ids.length ? [...page.rows].sort((a, b) => (place.get(a.id) ?? 0) - (place.get(b.id) ?? 0)) : page.rows;
  return { runs, total: page.total, config, metrics };
}

function Who({ runs, total, ids, filter }: { runs: readonly Run[]; total: number; ids: readonly string[]; filter: string }) {
  return (
    <div class="who">
      <strong>{plural(total, "run")}</strong>
      {filter && <Link href={`/runs?q=${encodeURIComponent(filter)}`}><code>{filter}</code></Link>}
      {runs.slice(0, MOST_LINES).map((run, index) => (
        <span key={run.id}>
          <Link href={`/runs/${run.id}`}>
            <i style={{ background: colour(index) }} /> {run.name} <code class="muted">{short(run.id)}</code>
          </Link>
          {ids.length > 2 && <button class="plain" title="Leave it out" onClick={() => change({ runs: ids.filter((id) => id !== run.id).join() })}>×</button>}
        </span>
      ))}
    </div>
  );
}
