// All sweeps: how each is, how many trials are how, the best value, what it cost.

import { useEffect } from "preact/hooks";
import type { Pulse } from "../app";
import { go } from "../lib/address";
import { get } from "../lib/api";
import { useData } from "../lib/data";
import { ago, exact, number, short } from "../lib/format";
import { useSlowBeat } from "../lib/live";
import { Link } from "../parts/Link";
import { State } from "../parts/State";
import { Empty, Wrong } from "../parts/messages";
import type { LocalColumn } from "../table/local";
import { LocalTable } from "../table/LocalTable";
import { Counts } from "./Counts";
import { metricName, type Sweep } from "./types";

const MOST = 200;
const AGAIN_MS = 1000;
const EVERY_MS = 10_000; // a sweep may end without any job's doing so

const COLUMNS: LocalColumn<Sweep>[] = [
  { name: "name", label: "Name", width: 170, right: false, value: (one) => one.name, draw: (one) => <Link href={`/sweeps/${one.id}`}>{one.name}</Link> },
  { name: "state", label: "State", width: 100, right: false, value: (one) => one.state, draw: (one) => <span title={one.reason}><State state={one.state} /></span> },
  { name: "trials", label: "Trials", width: 310, right: false, value: (one) => Object.values(one.counts).reduce((sum, count) => sum + count, 0), draw: (one) => <Counts sweep={one} /> },
  { name: "best", label: "Best", width: 84, right: true, value: (one) => one.best?.value ?? null, draw: best },
  { name: "metric", label: "Metric", width: 120, right: false, value: (one) => one.metrics.join(" "), draw: (one) => <span title={one.metrics.join(", ")}>{one.metrics.join(", ")}</span> },
  { name: "strategy", label: "Strategy", width: 92, right: false, value: (one) => one.strategy, draw: (one) => one.strategy },
  { name: "device_h", label: "Device-hours", width: 104, right: true, value: (one) => one.device_s / 3600, draw: (one) => <span class="num">{number(one.device_s / 3600, 3)}</span> },
  { name: "cost", label: "Cost", width: 70, right: true, value: (one) => one.cost, draw: (one) => <span class="num">{number(one.cost, 3)}</span> },
  {
    name: "created_at", label: "Since", width: 84, right: false, value: (one) => one.created_at, plain: (one) => exact(one.created_at),
    draw: (one) => <span title={exact(one.created_at)}>{ago(one.created_at)}</span>,
  },
  { name: "user", label: "User", width: 80, right: false, value: (one) => one.user, draw: (one) => one.user },
  { name: "id", label: "Id", width: 52, right: false, value: (one) => one.id, draw: (one) => <code title={one.id}>{short(one.id)}</code> },
];

function best(sweep: Sweep) {
  const found = sweep.best;
  if (!found) return "";
  return <span class="num" title={`${metricName(sweep.metrics[0])} of trial ${found.number}`}>{number(found.value)}</span>;
}

export function SweepsPage({ pulse }: { pulse: Pulse }) {
  const { data, fault, reload } = useData("sweeps", (signal) => get<Sweep[]>("/api/sweeps", { limit: MOST }, signal), EVERY_MS);
  const beat = useSlowBeat(pulse.beat, AGAIN_MS);
  useEffect(() => {
    if (beat) reload();
  }, [beat]);
  if (!data) return fault ? <Wrong fault={fault} retry={reload} /> : <p class="muted nothing">…</p>;
  if (!data.length) {
    return (
      <>
        {fault && <Wrong fault={fault} retry={reload} />}
        <Empty
          title="There are no sweeps yet"
          commands={[['leyden sweep train.py --lr "loguniform(1e-4,1e-1)" --trials 20 --metric val_loss:min', "tries twenty learning rates"]]}
        />
      </>
    );
  }
  return (
    <div class="sweeps">
      {fault && <Wrong fault={fault} retry={reload} />}
      <LocalTable
        word="sweep" example="state=running strategy=asha user=ada" items={data} columns={COLUMNS} pinned="name" order="-created_at"
        onOpen={(one) => go(`/sweeps/${one.id}`)} file="sweeps.csv"
      >
        {data.length === MOST && <span class="muted">the newest {MOST}</span>}
      </LocalTable>
    </div>
  );
}
