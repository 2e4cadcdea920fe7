// Rungs and learning curves of a sweep; without rungs, what each trial came to, and with several metrics their front.

import { useMemo } from "preact/hooks";
import { type Dimension, dimension } from "../compare/parameters";
import { ScatterPlot } from "../compare/ScatterPlot";
import { change, useAddress } from "../lib/address";
import { plural } from "../lib/format";
import { csv, saveText } from "../lib/save";
import { Picture } from "../parts/Picture";
import { Empty } from "../parts/messages";
import { bestFirst } from "./better";
import { CurvePlot } from "./CurvePlot";
import { points, Thinned, thinned } from "./points";
import { RungPlot } from "./RungPlot";
import { axis, byFactors, columnsOf, type Standing, STANDINGS, type Column } from "./rungs";
import { metricName, type SweepDetail, type Trial } from "./types";

const MOST = 1000; // trials of a figure: more are neither seen nor quickly drawn
const MOST_POINTS = 3000;
const MOST_BRACKETS = 6; // Hyperband goes round: hundreds of trials make dozens

export function ChartsTab({ detail }: { detail: SweepDetail }) {
  const { sweep, rungs } = detail;
  if (!detail.trials.some((one) => one.value !== null || one.curve.length)) {
    return <Empty title="Nothing is measured yet" small><p class="muted">Trials show here once the first of them says its {metricName(sweep.metrics[0])}.</p></Empty>;
  }
  if (rungs.length) return <Rungs detail={detail} />;
  return <div class={sweep.metrics.length > 1 ? "columns-2" : ""}>{sweep.metrics.length > 1 && <FrontPanel detail={detail} />}<History detail={detail} /></div>;
}

function Rungs({ detail }: { detail: SweepDetail }) {
  const { query } = useAddress();
  const { sweep, rungs } = detail;
  const yLog = query.get("log") === "y";
  const resources = [...new Set(rungs.map((one) => one.resource))];
  const xLog = query.has("x") ? query.get("x") === "log" : byFactors(resources);
  const brackets = [...new Set(rungs.map((one) => one.bracket))].sort((a, b) => a - b);
  const chosen = brackets.find((one) => String(one) === query.get("bracket")) ?? null;
  const shown = chosen === null ? brackets.slice(-MOST_BRACKETS) : [chosen];
  const metric = metricName(sweep.metrics[0]);
  const drawn = useMemo(() => drawnOf(detail), [detail]);
  const mine = drawn.filter((one) => chosen === null || one.bracket === chosen);
  const y = useMemo(() => axis(metric, mine.flatMap((one) => one.curve.map(([, value]) => value)), yLog), [drawn, chosen, yLog]);
  const x = { ...axis(sweep.resource, [...resources, ...mine.flatMap((one) => one.curve.map(([resource]) => resource))], xLog), values: resources };
  return (
    <>
      <div class="toolbar">
        {brackets.length > 1 && (
          <label class="muted">
            Bracket{" "}
            <select aria-label="Bracket" value={chosen ?? ""} onChange={(event) => change({ bracket: event.currentTarget.value })}>
              <option value="">all</option>
              {brackets.map((one) => <option key={one} value={one}>{one}</option>)}
            </select>
          </label>
        )}
        {chosen === null && shown.length < brackets.length && <span class="muted">the last {shown.length} of {brackets.length}</span>}
        <button class={xLog ? "on" : ""} aria-pressed={xLog} onClick={() => change({ x: !xLog === byFactors(resources) ? null : xLog ? "linear" : "log" })}>log x</button>
        <button class={yLog ? "on" : ""} aria-pressed={yLog} onClick={() => change({ log: yLog ? null : "y" })}>log y</button>
        {drawn.length < detail.trials.filter((one) => one.curve.length).length && <span class="muted">the best {MOST.toLocaleString("en")} of {plural(detail.trials.length, "trial")} are drawn</span>}
      </div>
      <div class={shown.length > 1 ? "brackets" : ""}>
        {shown.map((bracket) => (
          <RungPanel key={bracket} detail={detail} bracket={brackets.length > 1 ? bracket : null} columns={columnsOf(rungs, drawn, bracket)} y={y} metric={metric} />
        ))}
      </div>
      <section class="panel" aria-label="Learning curves">
        <h2>
          Learning curves <span class="muted">a line a trial</span> <span class="grow" />
          <Picture title={`${sweep.name} curves`} />
          <button class="plain" title="The values of each trial at each rung" onClick={() => saveText(`${sweep.name}-curves.csv`, curvesCsv(detail.trials.filter((one) => chosen === null || one.bracket === chosen), sweep.resource, metric))}>CSV</button>
        </h2>
        <CurvePlot sweep={sweep} trials={mine} x={x} y={y} metric={metric} />
      </section>
    </>
  );
}

function RungPanel({ detail, bracket, columns, y, metric }: { detail: SweepDetail; bracket: number | null; columns: readonly Column[]; y: Dimension; metric: string }) {
  const { sweep } = detail;
  const title = bracket === null ? "Rungs" : `Bracket ${bracket}`;
  const counts = new Map<Standing, number>();
  for (const { dots } of columns) for (const { standing } of dots) counts.set(standing, (counts.get(standing) ?? 0) + 1);
  return (
    <section class="panel" aria-label={title}>
      <h2>
        {title} <span class="grow" />
        <span class="standings">
          {STANDINGS.filter((one) => counts.has(one)).map((one) => <span key={one} class={`standing ${one.replace(" ", "-")}`}><i />{one}</span>)}
        </span>
        <Picture title={`${sweep.name} ${title.toLowerCase()}`} />
      </h2>
      <RungPlot sweep={sweep} columns={columns} y={y} metric={metric} />
    </section>
  );
}

/** What each trial came to, in the order they were made. */
function History({ detail }: { detail: SweepDetail }) {
  const { sweep } = detail;
  const { shown: all, every } = useMemo(() => thinned(points(detail, null), MOST_POINTS), [detail]);
  const name = `metrics.${metricName(sweep.metrics[0])}`;
  const [x, y] = [dimension(all, "trial"), dimension(all, name)];
  return (
    <section class="panel">
      <h2>{metricName(sweep.metrics[0])} of each trial <Thinned every={every} /> <span class="grow" /><Picture title={`${sweep.name} trials`} /></h2>
      {x && y ? <ScatterPlot runs={all} x={{ ...x, log: false }} y={y} colour={y} /> : <p class="muted nothing">Two trials with different values make a figure.</p>}
    </section>
  );
}

/** The first two metrics against each other; what no other trial beats in all of them is orange. */
function FrontPanel({ detail }: { detail: SweepDetail }) {
  const { sweep } = detail;
  const { shown: all, every } = useMemo(() => thinned(points(detail, null), MOST_POINTS), [detail]);
  const [x, y] = sweep.metrics.slice(0, 2).map((metric) => dimension(all, `metrics.${metricName(metric)}`));
  const colour: Dimension = { ...axis("front", [0, 1], false), values: all.map((one) => Number(one.values["front"] === true)) };
  return (
    <section class="panel" aria-label="Front">
      <h2>Front <span class="muted">orange: no other trial beats it in all metrics</span> <Thinned every={every} /> <span class="grow" /><Picture title={`${sweep.name} front`} /></h2>
      {x && y ? <ScatterPlot runs={all} x={x} y={y} colour={colour} /> : <p class="muted nothing">Two trials with different values make a figure.</p>}
    </section>
  );
}

/** Those that were measured at a rung; of very many the best, and all that still go on. */
function drawnOf({ sweep, trials }: SweepDetail): Trial[] {
  const measured = trials.filter((one) => one.curve.length);
  if (measured.length <= MOST) return measured;
  const kept = new Set(bestFirst(measured, sweep).slice(0, MOST).map((one) => one.number));
  return measured.filter((one) => kept.has(one.number) || one.state === "running");
}

function curvesCsv(trials: readonly Trial[], resource: string, metric: string): string {
  return csv([["trial", "bracket", resource, metric], ...trials.flatMap((one) => one.curve.map(([at, value]) => [one.number, one.bracket, at, value]))]);
}
