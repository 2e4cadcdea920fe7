// What is it, how is it, how far: the head of a run's page.

import { useState } from "preact/hooks";
import { type Fault, get, send, url, USER } from "../lib/api";
import { asFault, useData } from "../lib/data";
import { clock, devices, done, duration, ENDED, exact, number, runtime, short } from "../lib/format";
import type { JobDetail, Run, Waiting } from "../lib/types";
import { Bar, State } from "../parts/State";
import { Wrong } from "../parts/messages";

export function RunHead({ run, job, onChanged }: { run: Run; job: JobDetail | null; onChanged: () => void }) {
  const [fault, setFault] = useState<Fault | null>(null);
  const act = (what: string): void => {
    if (what === "cancel" && !confirm(`Cancel ${run.name} (${short(run.id)})?`)) return;
    send("POST", url(`/api/jobs/${run.job_id}/${what}`, { user: localStorage.getItem(USER) })).then(
      () => {
        setFault(null);
        onChanged();
      },
      (error: unknown) => setFault(asFault(error)),
    );
  };
  return (
    <header class="run-head">
      <div class="line-1">
        <h1 title={run.name}>{run.name || "(no name)"}</h1>
        <code class="muted" title={run.id}>{short(run.id)}</code>
        <State state={run.state} />
        {run.tags.map((tag) => <span key={tag} class="tag">{tag}</span>)}
        <span class="grow" />
        {run.job_id && actions(run.state).map((what) => <button key={what} onClick={() => act(what)}>{what}</button>)}
      </div>
      {run.progress !== null && !ENDED.has(run.state) && (
        <div class="line-2">
          <Bar share={run.progress} label="progress" />
          <span class="num">{done(run.progress)}</span>
          {run.eta_s !== null && <span class="muted">{duration(run.eta_s)} left, until {clock(Date.now() / 1000 + run.eta_s)}</span>}
        </div>
      )}
      {run.reason && <p class={`reason ${run.state}`}>{run.reason}</p>}
      {run.state === "queued" && run.job_id && <Expected job={run.job_id} />}
      <dl class="facts">
        <Fact name="user" value={run.user} />
        <Fact name="project" value={run.project} />
        <Fact name="created" value={clock(run.created_at)} title={exact(run.created_at)} />
        <Fact name="runtime" value={run.started_at === null ? "" : duration(runtime(run))} />
        <Fact name="progress" value={run.state === "running" && run.progress === null ? "—" : ""} title='How far it is, only the program knows: a Trainer says so, others with leyden.log({"progress": 0.4})' />
        <Fact name="devices" value={devices(run.devices)} />
        <Fact name="node" value={job?.job.node ?? ""} />
        <Fact name="attempt" value={job && job.job.attempt > 1 ? String(job.job.attempt) : ""} />
        <Fact name="priority" value={job ? String(job.job.priority) : ""} />
        <Fact name="exit code" value={job?.job.exit_code ? String(job.job.exit_code) : ""} />
        <Fact name="cost" value={job?.cost == null ? "" : number(job.cost, 3)} title="so far, in the money of the server's prices" />
      </dl>
      {fault && <Wrong fault={fault} />}
    </header>
  );
}

function Expected({ job }: { job: string }) {
  const { data } = useData(job, (signal) => get<Waiting>(`/api/jobs/${job}/why`, {}, signal), 5000);
  if (!data?.position && !data?.starts_after) return null;
  return (
    <p class="muted">
      {data.position && `Number ${data.position} in line. `}
      {data.starts_after && `Expected to start ${clock(data.starts_after)}${data.starts_before && data.starts_before - data.starts_after > 60 ? ` to ${clock(data.starts_before)}` : ""}.`}
    </p>
  );
}

export function Fact({ name, value, title }: { name: string; value: string; title?: string }) {
  if (!value || value === "–") return null;
  return (
    <div title={title}>
      <dt>{name}</dt>
      <dd class="num">{value}</dd>
    </div>
  );
}

function actions(state: string): string[] {
  if (state === "queued") return ["hold", "cancel"];
  if (state === "held") return ["release", "cancel"];
  if (state === "paused") return ["resume", "cancel"];
  return state === "running" ? ["pause", "cancel"] : state === "starting" || state === "admitted" ? ["cancel"] : [];
}
