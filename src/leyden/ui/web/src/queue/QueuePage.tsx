// Who waits: in which order, for what, and when is it to start?

import { useEffect } from "preact/hooks";
import type { Pulse } from "../app";
import { get } from "../lib/api";
import { useData } from "../lib/data";
import { useSlowBeat } from "../lib/live";
import { ago, clock, exact, plural, short } from "../lib/format";
import type { Waiting } from "../lib/types";
import { Link } from "../parts/Link";
import { State } from "../parts/State";
import { Empty, Wrong } from "../parts/messages";

const AGAIN_MS = 2000;
const EVERY_MS = 5000; // reasons and estimates change without any job's doing so

export function QueuePage({ pulse }: { pulse: Pulse }) {
  const { data, fault, reload } = useData("queue", (signal) => get<Waiting[]>("/api/queue", {}, signal), EVERY_MS);
  const beat = useSlowBeat(pulse.beat, AGAIN_MS);
  useEffect(() => {
    if (beat) reload();
  }, [beat]);
  if (!data) return fault ? <Wrong fault={fault} retry={reload} /> : <p class="muted nothing">…</p>;
  const inLine = data.filter((one) => one.job.state === "queued");
  const aside = data.filter((one) => one.job.state !== "queued");
  if (!data.length) {
    return <Empty title="Nothing waits" commands={[["leyden submit --gpus 1 train.py", "hands a job in; it starts at once where there is room"]]} />;
  }
  return (
    <>
      {fault && <Wrong fault={fault} retry={reload} />}
      {inLine.length > 0 && <Part title={`${plural(inLine.length, "job")} in line`} rows={inLine} />}
      {aside.length > 0 && <Part title="Held and paused" rows={aside} />}
    </>
  );
}

function Part({ title, rows }: { title: string; rows: readonly Waiting[] }) {
  return (
    <section class="panel">
      <h2>{title}</h2>
      <div class="scroll-x">
        <table class="plain queue">
          <thead>
            <tr><th class="right">#</th><th>Job</th><th>User</th><th class="right">Priority</th><th>Needs</th><th>Since</th><th>Expected</th><th>Why</th></tr>
          </thead>
          <tbody>
            {rows.map(({ job, needs, position, starts_after, starts_before, text }) => (
              <tr key={job.id}>
                <td class="right num">{position ?? ""}</td>
                <td class="name">
                  <Link href={`/runs/${job.id}`}>{job.name}</Link> <code class="muted">{short(job.id)}</code>
                  {job.state !== "queued" && <>{" "}<State state={job.state} /></>}
                </td>
                <td>{job.user}</td>
                <td class="right num">{job.priority}</td>
                <td class="num">{needed(needs)}</td>
                <td title={exact(job.created_at)}>{ago(job.created_at)}</td>
                <td class="num">{expected(starts_after, starts_before)}</td>
                <td class="wrap">{text}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function needed(needs: Record<string, number>): string {
  const { gpus = 0, share = 1, cpus = 0 } = needs;
  return [share > 1 ? `1/${share} GPU` : gpus && plural(gpus, "GPU"), cpus && plural(cpus, "CPU")].filter(Boolean).join(", ");
}

function expected(from: number | null, to: number | null): string {
  if (from === null) return "not known";
  return to !== null && to - from > 60 ? `${clock(from)} to ${clock(to)}` : clock(from);
}
