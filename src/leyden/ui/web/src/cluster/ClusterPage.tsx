// The machine just now: who has which GPU, since when, and do they use it?

import type { Pulse } from "../app";
import { get } from "../lib/api";
import { useData } from "../lib/data";
import { devices, duration, number, percent, plural, short, size } from "../lib/format";
import type { GpuTop, JobTop, Top } from "../lib/types";
import { Link } from "../parts/Link";
import { Bar } from "../parts/State";
import { Empty, Wrong } from "../parts/messages";

const EVERY_MS = 2000;
const MOST_NAMED = 4; // jobs that share a GPU
const IDLE_MARK_S = 300; // as `leyden top` marks it

export function ClusterPage(_: { pulse: Pulse }) {
  const { data: top, fault, reload } = useData("top", (signal) => get<Top>("/api/top", {}, signal), EVERY_MS);
  if (!top) return fault ? <Wrong fault={fault} retry={reload} /> : <p class="muted nothing">…</p>;
  const held = top.gpus.filter((gpu) => gpu.job || holders(top, gpu).length).length;
  const idle = top.gpus.filter(isIdle).length;
  const busy = top.jobs.reduce((sum, job) => sum + (job.cpu_percent ?? 0), 0) / 100;
  const memory = top.jobs.reduce((sum, job) => sum + (job.memory_bytes ?? 0), 0);
  return (
    <div class="cluster">
      {fault && <Wrong fault={fault} retry={reload} />}
      <section class="panel">
        <h2>
          {top.node}
          <span class="muted">{top.gpus.length ? `${held} of ${plural(top.gpus.length, "GPU")} held` : "no GPU"}</span>
          {idle > 0 && <span class="notanumber">{idle} held but idle</span>}
          <span class="grow" />
          <Meter name="CPUs" share={top.cpus_held / top.cpus} said={`${top.cpus_held} of ${top.cpus} held, ${busy.toFixed(1)} busy`} />
          <Meter name="memory" share={memory / top.memory_bytes} said={`${size(memory)} of ${size(top.memory_bytes)}`} />
        </h2>
        {top.gpus.length > 0 && <Gpus top={top} />}
      </section>
      <Jobs jobs={top.jobs.filter((job) => !job.devices.some((name) => name.startsWith("gpu:")))} at={top.at} />
      {!top.jobs.length && <Empty title="Nothing runs" commands={[["leyden run train.py", "runs a script here"]]} />}
      {top.waiting_count > 0 && <p class="nothing"><Link href="/queue">{plural(top.waiting_count, "job")} waiting</Link></p>}
    </div>
  );
}

function Gpus({ top }: { top: Top }) {
  const since = new Map(top.jobs.map((job) => [job.id, job.started_at]));
  return (
    <div class="scroll-x">
      <table class="plain">
        <thead>
          <tr><th class="right">GPU</th><th>Model</th><th>Use</th><th>Memory</th><th class="right">Power</th><th>Job</th><th>User</th><th class="right">For</th><th /></tr>
        </thead>
        <tbody>
          {top.gpus.map((gpu) => {
            const start = since.get(gpu.job);
            const sharing = holders(top, gpu);
            return (
              <tr key={gpu.index} class={gpu.job || sharing.length ? "" : "free"}>
                <td class="right num">{gpu.index}</td>
                <td class="muted">{gpu.name}</td>
                <td class="num">{gpu.use_percent !== null && <><Bar share={gpu.use_percent / 100} kind={isIdle(gpu) ? "idle" : ""} label={`use of GPU ${gpu.index}`} /> {percent(gpu.use_percent)}</>}</td>
                <td class="num">{gpu.used_bytes !== null && <><Bar share={gpu.used_bytes / gpu.memory_bytes} label={`memory of GPU ${gpu.index}`} /> {size(gpu.used_bytes)} of </>}{size(gpu.memory_bytes)}</td>
                <td class="right num">{gpu.power_w === null ? "" : `${number(Math.round(gpu.power_w))} W`}</td>
                <td>{sharing.length > 1 ? <Shared jobs={sharing} /> : gpu.job ? <Link href={`/runs/${gpu.job}`}>{gpu.job_name || short(gpu.job)}</Link> : <span class="muted">free</span>}</td>
                <td>{sharing.length > 1 ? [...new Set(sharing.map((job) => job.user))].join(", ") : gpu.user}</td>
                <td class="right num">{start && sharing.length < 2 ? duration(top.at - start) : ""}</td>
                <td>{isIdle(gpu) && <span class="notanumber">held but idle for {duration(gpu.idle_s)}</span>}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

/** Several may have a part of one GPU each. */
function Shared({ jobs }: { jobs: readonly JobTop[] }) {
  return (
    <>
      {jobs.slice(0, MOST_NAMED).map((job, index) => <span key={job.id}>{index > 0 && ", "}<Link href={`/runs/${job.id}`}>{job.name}</Link></span>)}
      {jobs.length > MOST_NAMED && <span class="muted"> and {jobs.length - MOST_NAMED} more</span>}
    </>
  );
}

function holders(top: Top, gpu: GpuTop): JobTop[] {
  return top.jobs.filter((job) => job.devices.some((name) => name.split("/")[0] === `gpu:${gpu.index}`));
}

function Jobs({ jobs, at }: { jobs: readonly JobTop[]; at: number }) {
  if (!jobs.length) return null;
  return (
    <section class="panel">
      <h2>On CPUs</h2>
      <div class="scroll-x">
        <table class="plain">
          <thead><tr><th>Job</th><th>User</th><th>Devices</th><th class="right">CPU</th><th class="right">Memory</th><th class="right">For</th></tr></thead>
          <tbody>
            {jobs.map((job) => (
              <tr key={job.id}>
                <td><Link href={`/runs/${job.id}`}>{job.name}</Link> <code class="muted">{short(job.id)}</code></td>
                <td>{job.user}</td>
                <td>{devices(job.devices)}</td>
                <td class="right num">{percent(job.cpu_percent)}</td>
                <td class="right num">{size(job.memory_bytes)}</td>
                <td class="right num">{job.started_at === null ? "" : duration(at - job.started_at)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Meter({ name, share, said }: { name: string; share: number; said: string }) {
  return (
    <span class="meter">
      <span class="muted">{name}</span> <Bar share={share} label={name} /> <span class="num">{said}</span>
    </span>
  );
}

function isIdle(gpu: GpuTop): boolean {
  return gpu.job !== "" && gpu.idle_s !== null && gpu.idle_s >= IDLE_MARK_S;
}
