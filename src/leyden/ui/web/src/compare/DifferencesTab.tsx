// What the runs were given that is not the same, and what came out, side by side.

import { change, useAddress } from "../lib/address";
import { number, short } from "../lib/format";
import { csv, saveText } from "../lib/save";
import type { Run } from "../lib/types";
import { Link } from "../parts/Link";

const MOST_RUNS = 40;

export function DifferencesTab({ runs, config, metrics }: { runs: readonly Run[]; config: readonly string[]; metrics: readonly string[] }) {
  const { query } = useAddress();
  const all = query.get("same") === "1";
  const shown = runs.slice(0, MOST_RUNS);
  const given = rows(shown, config);
  const differ = given.filter((row) => !row.same);
  const out = rows(shown, metrics);
  const listed = all ? given : differ;
  return (
    <>
      <div class="toolbar">
        <button class={all ? "on" : ""} aria-pressed={all} onClick={() => change({ same: !all })}>Show what is the same too</button>
        <span class="muted">{differ.length} of {given.length} differ{runs.length > shown.length && `; the first ${shown.length} runs`}</span>
        <button onClick={() => saveText("differences.csv", csv([["name", ...shown.map((run) => `${run.name} ${short(run.id)}`)], ...[...listed, ...out].map((row) => [row.name, ...row.said])]))}>CSV</button>
      </div>
      <section class="panel">
        <div class="scroll-x">
          <table class="plain differences">
            <thead>
              <tr><th />{shown.map((run) => <th key={run.id}><Link href={`/runs/${run.id}`} title={run.name}>{run.name} <code>{short(run.id)}</code></Link></th>)}</tr>
            </thead>
            <tbody>
              {listed.map((row) => <Line key={row.name} row={row} />)}
              {!listed.length && <tr><td class="muted" colSpan={shown.length + 1}>They were given the same, or nothing is on record</td></tr>}
              {out.length > 0 && <tr><td class="muted" colSpan={shown.length + 1}>Metrics, last values</td></tr>}
              {out.map((row) => <Line key={row.name} row={{ ...row, same: false }} />)}
            </tbody>
          </table>
        </div>
      </section>
    </>
  );
}

interface Row {
  name: string;
  said: string[];
  same: boolean;
}

function Line({ row }: { row: Row }) {
  return (
    <tr class={row.same ? "same" : ""}>
      <td title={row.name}><code>{row.name.replace(/^config\./, "")}</code></td>
      {row.said.map((text, index) => <td key={index} class="num" title={text}>{text}</td>)}
    </tr>
  );
}

function rows(runs: readonly Run[], names: readonly string[]): Row[] {
  return names.map((name) => {
    const said = runs.map((run) => number(run.values[name], 5));
    return { name, said, same: new Set(runs.map((run) => String(run.values[name] ?? ""))).size < 2 };
  });
}
