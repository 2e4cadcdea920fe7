// Which parameters made the difference? For sweeps: parallel coordinates, a scatter, and what each explains.

import { change, useAddress } from "../lib/address";
import { csv, saveText } from "../lib/save";
import type { Run } from "../lib/types";
import { Bar } from "../parts/State";
import { Empty } from "../parts/messages";
import { readBrushes, setBrush } from "./brushes";
import { ParallelPlot } from "./ParallelPlot";
import { type Dimension, dimension, importances } from "./parameters";
import { ScatterPlot } from "./ScatterPlot";

const MOST_AXES = 9;

export function ParametersTab({ runs, config, metrics }: { runs: readonly Run[]; config: readonly string[]; metrics: readonly string[] }) {
  const { query } = useAddress();
  const outcomes = metrics.flatMap((name) => dimension(runs, name) ?? []);
  const parameters = config.flatMap((name) => dimension(runs, name) ?? []);
  const metric = outcomes.find((one) => one.name === query.get("metric")) ?? outcomes.find((one) => /val.*loss/i.test(one.name)) ?? outcomes.find((one) => /loss/i.test(one.name)) ?? outcomes[0];
  if (!metric || !parameters.length) {
    return (
      <Empty title={metric ? "These runs were given the same" : "These runs have no metric in common that differs"}>
        <p class="muted">What a run is given is on record after <code>{'leyden.log_config({"lr": 0.1})'}</code>; a Trainer does so by itself.</p>
      </Empty>
    );
  }
  const found = importances(parameters, metric);
  const ordered = found.map((one) => one.dimension);
  const brushes = readBrushes(query);
  const first = ordered[0]!;
  const x = [...ordered, ...outcomes].find((one) => one.name === query.get("sx")) ?? first;
  return (
    <>
      <div class="toolbar">
        <label class="muted">
          What came out{" "}
          <select value={metric.name} aria-label="Metric" onChange={(event) => change({ metric: event.currentTarget.value })}>
            {outcomes.map((one) => <option key={one.name} value={one.name}>{one.label}</option>)}
          </select>
        </label>
        {Object.keys(brushes).length > 0 && <button onClick={() => change({ keep: null })}>Keep all</button>}
        <button onClick={() => saveText("parameters.csv", asCsv(runs, [...ordered, metric]))}>CSV</button>
      </div>
      <section class="panel">
        <h2>Parallel coordinates <span class="muted">blue is least, orange greatest {metric.label}</span></h2>
        <ParallelPlot runs={runs} axes={[...ordered.slice(0, MOST_AXES), metric]} metric={metric} brushes={brushes} onBrush={(name, range) => setBrush(brushes, name, range)} />
      </section>
      <div class="columns-2">
        <section class="panel">
          <h2>
            Scatter <span class="grow" />
            <select value={x.name} aria-label="Scatter x" onChange={(event) => change({ sx: event.currentTarget.value })}>
              {[...ordered, ...outcomes].map((one) => <option key={one.name} value={one.name}>{one.label}</option>)}
            </select>
          </h2>
          <ScatterPlot runs={runs} x={x} y={metric} colour={metric} />
        </section>
        <section class="panel">
          <h2 title="Variance between the bins of a parameter over the whole variance, less what as many bins explain of noise">
            Importance for {metric.label}
          </h2>
          <div class="scroll-x"><table class="plain importance">
            <thead><tr><th>Parameter</th><th>Explains by itself</th><th class="right" title="Spearman's, of ranks">Correlation</th><th class="right">Runs</th></tr></thead>
            <tbody>
              {found.map((one) => (
                <tr key={one.dimension.name}>
                  <td><code>{one.dimension.label}</code></td>
                  <td class="num"><Bar share={one.share} label={`importance of ${one.dimension.label}`} /> {Math.round(one.share * 100)} %</td>
                  <td class="right num">{Number.isNaN(one.correlation) ? "" : one.correlation.toFixed(2)}</td>
                  <td class="right num">{one.runs}</td>
                </tr>
              ))}
            </tbody>
          </table></div>
          {runs.length < 20 && <p class="muted nothing">{runs.length} runs say little; twenty and more say something.</p>}
        </section>
      </div>
    </>
  );
}

function asCsv(runs: readonly Run[], dimensions: readonly Dimension[]): string {
  const rows = runs.map((run, index) => [run.id, run.name, ...dimensions.map((one) => (one.words ? (one.words[one.values[index]!] ?? "") : one.values[index]!))]);
  return csv([["id", "name", ...dimensions.map((one) => one.name)], ...rows]);
}
