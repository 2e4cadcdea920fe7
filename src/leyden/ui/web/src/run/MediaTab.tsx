// Pictures, tables, histograms and texts that a run logged, by name, one step at a time.

import { change, useAddress } from "../lib/address";
import { ask, get } from "../lib/api";
import { useData } from "../lib/data";
import { number } from "../lib/format";
import type { Media, MediaName } from "../lib/types";
import { Wrong } from "../parts/messages";

export function MediaTab({ run, media }: { run: string; media: readonly MediaName[] }) {
  return (
    <div class="media">
      {media.map((one) => <OneName key={`${one.kind} ${one.name}`} run={run} media={one} />)}
    </div>
  );
}

/** All names move through their steps together: the step in the address is the latest each may show. */
function OneName({ run, media }: { run: string; media: MediaName }) {
  const { query } = useAddress();
  const upTo = query.has("step") ? Number(query.get("step")) : Infinity;
  const steps = [...media.steps].sort((a, b) => a - b);
  const at = Math.max(0, steps.findLastIndex((step) => step <= upTo));
  const step = steps[at] ?? 0;
  const { data, fault } = useData(`${run} ${media.name} ${step}`, (signal) => get<Media[]>(`/api/runs/${run}/media`, { name: media.name, step }, signal));
  const show = (index: number): void => change({ step: index === steps.length - 1 ? null : (steps[index] ?? null) }, "replace");
  return (
    <section class="panel">
      <h2>
        <span class="title">{media.name}</span> <span class="muted">{media.kind}</span>
        <span class="grow" />
        {steps.length > 1 && (
          <input type="range" min={0} max={steps.length - 1} value={at} aria-label={`Step of ${media.name}`} onInput={(event) => show(Number(event.currentTarget.value))} />
        )}
        <span class="muted num">step {number(step)}</span>
      </h2>
      {fault && <Wrong fault={fault} />}
      <div class="shelf">{data?.map((one) => <OneMedia key={one.file} run={run} media={one} />)}</div>
    </section>
  );
}

function OneMedia({ run, media }: { run: string; media: Media }) {
  const href = `/api/runs/${run}/files/${media.file.split("/").map(encodeURIComponent).join("/")}`;
  return (
    <figure>
      {media.kind === "image" ? <a href={href} target="_blank" rel="noreferrer"><img src={href} alt={media.caption || media.name} loading="lazy" /></a> : <Written href={href} kind={media.kind} />}
      {media.caption && <figcaption>{media.caption}</figcaption>}
    </figure>
  );
}

interface Table {
  columns: string[];
  rows: unknown[][];
}

interface Histogram {
  counts: number[];
  edges: number[];
  nan: number;
  low: number; // how many were -inf
  high: number;
}

function Written({ href, kind }: { href: string; kind: Media["kind"] }) {
  const { data, fault } = useData(href, async (signal) => (await ask(href, { signal })).text());
  if (fault) return <Wrong fault={fault} />;
  if (data === null) return <span class="muted">…</span>;
  if (kind === "text") return <pre class="text">{data}</pre>;
  return kind === "table" ? <TableOf table={JSON.parse(data) as Table} /> : <HistogramOf histogram={JSON.parse(data) as Histogram} />;
}

const MOST_ROWS = 500;

function TableOf({ table }: { table: Table }) {
  const { columns, rows } = table;
  return (
    <div class="scroll-x">
      <table class="plain">
        <thead><tr>{columns.map((name) => <th key={name}>{name}</th>)}</tr></thead>
        <tbody>
          {rows.slice(0, MOST_ROWS).map((row, index) => (
            <tr key={index}>{row.map((value, at) => <td key={at} class="num wrap">{typeof value === "number" ? number(value) : String(value ?? "")}</td>)}</tr>
          ))}
        </tbody>
      </table>
      {rows.length > MOST_ROWS && <p class="muted">and {rows.length - MOST_ROWS} more rows</p>}
    </div>
  );
}

const WIDE = 320;
const HIGH = 110;

function HistogramOf({ histogram }: { histogram: Histogram }) {
  const { counts, edges, nan, low, high } = histogram;
  const apart = [nan && `${nan} NaN`, low && `${low} -inf`, high && `${high} inf`].filter(Boolean).join(", ");
  const most = Math.max(1, ...counts);
  const each = WIDE / Math.max(1, counts.length);
  return (
    <svg viewBox={`0 0 ${WIDE} ${HIGH + 16}`} width={WIDE} height={HIGH + 16} class="histogram" role="img" aria-label="histogram">
      {counts.map((count, index) => (
        <rect key={index} x={index * each + 0.5} width={Math.max(0.5, each - 1)} y={HIGH - (count / most) * HIGH} height={(count / most) * HIGH}>
          <title>{`${number(edges[index])} to ${number(edges[index + 1])}: ${number(count)}`}</title>
        </rect>
      ))}
      {apart && <text x={WIDE / 2} y={HIGH + 13} text-anchor="middle">{apart}</text>}
      <text x={0} y={HIGH + 13}>{number(edges[0])}</text>
      <text x={WIDE} y={HIGH + 13} text-anchor="end">{number(edges.at(-1))}</text>
    </svg>
  );
}
