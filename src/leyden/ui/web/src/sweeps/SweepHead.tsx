// How is a sweep, how far, what is the best it found, and what can be done about it?

import { useState } from "preact/hooks";
import { hrefWith } from "../lib/address";
import { type Fault, send, url, USER } from "../lib/api";
import { asFault } from "../lib/data";
import { clock, duration, exact, number, plural, short } from "../lib/format";
import { Link } from "../parts/Link";
import { State } from "../parts/State";
import { Command, Wrong } from "../parts/messages";
import { Fact } from "../run/RunHead";
import { Counts } from "./Counts";
import { metricName, over, said, shell, type Sweep, type SweepDetail, type Trial } from "./types";

const ENDED = ["done", "dropped", "failed"];

export function SweepHead({ detail, onChanged }: { detail: SweepDetail; onChanged: () => void }) {
  const { sweep } = detail;
  const [fault, setFault] = useState<Fault | null>(null);
  const act = (what: string): void => {
    if (what === "stop" && !confirm(`Stop ${sweep.name} (${short(sweep.id)})? Its trials pause; it can be resumed.`)) return;
    send("POST", url(`/api/sweeps/${sweep.id}/${what}`, { user: localStorage.getItem(USER) })).then(
      () => {
        setFault(null);
        onChanged();
      },
      (error: unknown) => setFault(asFault(error)),
    );
  };
  const took = (sweep.ended_at ?? Date.now() / 1000) - sweep.created_at;
  return (
    <header class="run-head">
      <div class="line-1">
        <h1 title={sweep.name}>{sweep.name}</h1>
        <code class="muted" title={sweep.id}>{short(sweep.id)}</code>
        <State state={sweep.state} />
        <span class="grow" />
        {actions(sweep.state).map((what) => <button key={what} onClick={() => act(what)}>{what}</button>)}
      </div>
      <div class="line-2">
        <span class="num">{progress(sweep)}</span>
        <Counts sweep={sweep} wide />
      </div>
      {sweep.reason && !(sweep.best && sweep.reason.startsWith("best: ")) && <p class={`reason ${sweep.state}`}>{sweep.reason}</p>}
      {sweep.metrics.length > 1 ? <Front detail={detail} /> : sweep.best && <Best sweep={sweep} best={sweep.best} command={detail.best_command} />}
      <dl class="facts">
        <Fact name="strategy" value={sweep.strategy} />
        <Fact name="metric" value={sweep.metrics.join(", ")} />
        <Fact name="user" value={sweep.user} />
        <Fact name="created" value={clock(sweep.created_at)} title={exact(sweep.created_at)} />
        <Fact name={over(sweep) ? "took" : "for"} value={duration(took)} />
        <Fact name="at a time" value={sweep.parallel === null ? "" : String(sweep.parallel)} />
        <Fact name="on one GPU" value={sweep.per_gpu > 1 ? String(sweep.per_gpu) : ""} />
        <Fact name="device time" value={duration(sweep.device_s)} title="of all trials, times their devices; a shared GPU counts by its part" />
        <Fact name="cost" value={number(sweep.cost, 3)} title="so far, in the money of the server's prices" />
      </dl>
      {fault && <Wrong fault={fault} />}
    </header>
  );
}

function Best({ sweep, best, command }: { sweep: Sweep; best: Trial; command: readonly string[] }) {
  return (
    <p class="best">
      <span class="star">★</span>{" "}
      {best.job_id ? <Link href={`/runs/${best.job_id}`}>trial {best.number}</Link> : `trial ${best.number}`}{" "}
      {metricName(sweep.metrics[0])} <strong class="num">{number(best.value)}</strong> <span class="muted">{said(best)}</span>{" "}
      {command.length > 0 && <Command text={shell(command)} />}
    </p>
  );
}

/** With several metrics none is the best. */
function Front({ detail }: { detail: SweepDetail }) {
  if (!detail.front.length) return null;
  return (
    <p class="best">
      <span class="star">◆</span> <Link href={hrefWith({ tab: "trials", q: "front=true" })}>{plural(detail.front.length, "trial")}</Link>{" "}
      <span class="muted">that no other one beats in {detail.sweep.metrics.map(metricName).join(" and ")}</span>
    </p>
  );
}

function progress(sweep: Sweep): string {
  const ended = ENDED.reduce((sum, state) => sum + (sweep.counts[state] ?? 0), 0);
  return sweep.asked === null ? `${plural(ended, "trial")} ended` : `${ended.toLocaleString("en")} of ${plural(sweep.asked, "trial")} ended`;
}

function actions(state: string): string[] {
  if (state === "running") return ["stop"];
  return state === "stopped" || state === "failed" ? ["resume"] : [];
}
