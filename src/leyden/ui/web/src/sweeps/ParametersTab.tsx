// Which parameter made the difference in a sweep: parallel coordinates, a scatter, and what fANOVA says each explains.

import { useMemo } from "preact/hooks";
import { readBrushes, setBrush } from "../compare/brushes";
import { ParallelPlot } from "../compare/ParallelPlot";
import { type Dimension, dimension, type Importance as Own, importances } from "../compare/parameters";
import { ScatterPlot } from "../compare/ScatterPlot";
import { change, useAddress } from "../lib/address";
import { get } from "../lib/api";
import { useData } from "../lib/data";
import { plural } from "../lib/format";
import { Picture } from "../parts/Picture";
import { Bar } from "../parts/State";
import { Empty, Wrong } from "../parts/messages";
import { points, Thinned, thinned } from "./points";
import { type Importance, metricName, over, type SweepDetail } from "./types";

const MOST_AXES = 9;
const MOST_LINES = 1000;

export function ParametersTab({ detail }: { detail: SweepDetail }) {
  const { query } = useAddress();
  const { sweep } = detail;
  const judged = detail.trials.filter((one) => one.value !== null).length;
  const due = over(sweep) ? judged : Math.floor(8 * Math.log1p(judged)); // a second's work for the server: again after an eighth more
  const asked = useData(`${sweep.id} ${due}`, (signal) => get<Importance>(`/api/sweeps/${sweep.id}/importance`, {}, signal));
  const levels = [...new Set(detail.rungs.map((one) => one.resource))].sort((a, b) => a - b);
  const level = levels.find((one) => String(one) === query.get("at")) ?? null;
  const { shown: all, every } = useMemo(() => thinned(points(detail, level), MOST_LINES), [detail, level]);
  const outcomes = sweep.metrics.flatMap((one) => dimension(all, `metrics.${metricName(one)}`) ?? []);
  const metric = outcomes.find((one) => one.label === query.get("metric")) ?? outcomes[0];
  const params = [...new Set([...Object.keys(detail.space), ...(detail.trials[0] ? Object.keys(detail.trials[0].params) : [])])].flatMap((one) => dimension(all, `config.${one}`) ?? []);
  const toolbar = (
    <div class="toolbar">
      {outcomes.length > 1 && <Choice label="Metric" word="What came out" value={metric?.label ?? ""} options={outcomes.map((one) => one.label)} onChange={(one) => change({ metric: one })} />}
      {levels.length > 0 && <Choice label="At rung" word={`At ${sweep.resource}`} value={level === null ? "" : String(level)} options={["", ...levels.map(String)]} none="the last of each" onChange={(one) => change({ at: one })} />}
      {query.has("keep") && <button onClick={() => change({ keep: null })}>Keep all</button>}
      <span class="grow" />
      <span class="muted num">{plural(all.length, "trial")}</span> <Thinned every={every} />
    </div>
  );
  if (!metric || !params.length) {
    return <>{toolbar}<Empty title={metric ? "Nothing varies among these trials" : "Two trials with different values make a figure"} small /></>;
  }
  const own = importances(params, metric);
  const shares = asked.data?.shares ?? {};
  const sorted = [...own].sort((a, b) => (shares[b.dimension.label] ?? 0) - (shares[a.dimension.label] ?? 0));
  const axes = sorted.map((one) => one.dimension);
  const brushes = readBrushes(query);
  return (
    <>
      {toolbar}
      <section class="panel">
        <h2>Parallel coordinates <span class="muted">blue is least, orange greatest {metric.label}</span> <span class="grow" /><Picture title={`${sweep.name} parallel`} /></h2>
        <ParallelPlot runs={all} axes={[...axes.slice(0, MOST_AXES), metric]} metric={metric} word="trials" brushes={brushes} onBrush={(name, range) => setBrush(brushes, name, range)} />
      </section>
      <div class="columns-2">
        <Scatter detail={detail} all={all} axes={[...axes, ...outcomes.filter((one) => one !== metric)]} metric={metric} />
        <section class="panel" aria-label="Importance">
          <h2 title="Functional ANOVA over a random forest (Hutter et al. 2014)">
            Importance for {metricName(sweep.metrics[0])} {asked.data && <span class="muted">from {plural(asked.data.trials, "trial")}</span>}
          </h2>
          {asked.fault && <Wrong fault={asked.fault} retry={asked.reload} />}
          {asked.data?.note && <p class="muted nothing">{asked.data.note}</p>}
          {Object.keys(shares).length > 0 && <Shares shares={shares} own={own} />}
        </section>
      </div>
    </>
  );
}

function Scatter({ detail, all, axes, metric }: { detail: SweepDetail; all: ReturnType<typeof points>; axes: readonly Dimension[]; metric: Dimension }) {
  const x = axes.find((one) => one.label === useAddress().query.get("sx")) ?? axes[0]!;
  return (
    <section class="panel">
      <h2>
        Scatter <span class="grow" />
        <select value={x.label} aria-label="Scatter x" onChange={(event) => change({ sx: event.currentTarget.value })}>
          {axes.map((one) => <option key={one.name} value={one.label}>{one.label}</option>)}
        </select>
        <Picture title={`${detail.sweep.name} ${metric.label} over ${x.label}`} />
      </h2>
      <ScatterPlot runs={all} x={x} y={metric} colour={metric} />
    </section>
  );
}

function Shares({ shares, own }: { shares: Record<string, number>; own: readonly Own[] }) {
  const rows = Object.entries(shares).sort(([, a], [, b]) => b - a);
  return (
    <div class="scroll-x"><table class="plain importance">
      <thead><tr><th>Parameter</th><th>Explains</th><th class="right" title="Spearman's, of ranks, with what is drawn here">Correlation</th></tr></thead>
      <tbody>
        {rows.map(([name, part]) => {
          const correlation = own.find((one) => one.dimension.label === name)?.correlation ?? NaN;
          return (
            <tr key={name}>
              <td><code>{name}</code></td>
              <td class="num"><Bar share={part} label={`importance of ${name}`} /> {Math.round(part * 100)} %</td>
              <td class="right num">{Number.isNaN(correlation) ? "" : correlation.toFixed(2)}</td>
            </tr>
          );
        })}
      </tbody>
    </table></div>
  );
}

function Choice({ label, word, value, options, none = "", onChange }: { label: string; word: string; value: string; options: readonly string[]; none?: string; onChange: (value: string) => void }) {
  return (
    <label class="muted">
      {word}{" "}
      <select aria-label={label} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {options.map((one) => <option key={one} value={one}>{one || none}</option>)}
      </select>
    </label>
  );
}
