// What happened to a job, when, who did it and why; and each of its attempts.

import { devices, duration, exact } from "../lib/format";
import type { JobDetail } from "../lib/types";
import { State } from "../parts/State";

export function EventsTab({ detail }: { detail: JobDetail }) {
  const started = detail.events[0]?.at ?? detail.job.created_at;
  return (
    <>
      <section class="panel">
        <h2>Attempts</h2>
        <div class="scroll-x">
          <table class="plain">
            <thead>
              <tr><th>#</th><th>Node</th><th>Devices</th><th>Started</th><th class="right">Took</th><th>Outcome</th><th class="right">Exit code</th><th class="right">Pid</th></tr>
            </thead>
            <tbody>
              {detail.attempts.map((one) => (
                <tr key={one.number}>
                  <td>{one.number}</td>
                  <td>{one.node}</td>
                  <td>{devices(one.devices)}</td>
                  <td class="num">{exact(one.started_at)}</td>
                  <td class="right num">{one.started_at === null ? "" : duration((one.ended_at ?? Date.now() / 1000) - one.started_at)}</td>
                  <td class="wrap">{one.outcome || (one.ended_at ? "" : "goes on")}</td>
                  <td class="right num">{one.exit_code ?? ""}</td>
                  <td class="right num">{one.pid ?? ""}</td>
                </tr>
              ))}
              {!detail.attempts.length && <tr><td colSpan={8} class="muted">None yet</td></tr>}
            </tbody>
          </table>
        </div>
      </section>
      <section class="panel">
        <h2>Events</h2>
        <div class="scroll-x">
          <table class="plain">
            <thead>
              <tr><th>When</th><th class="right">After</th><th>State</th><th>By</th><th>Why</th></tr>
            </thead>
            <tbody>
              {[...detail.events].reverse().map((one, index) => (
                <tr key={index}>
                  <td class="num">{exact(one.at)}</td>
                  <td class="right num">{duration(one.at - started)}</td>
                  <td><State state={one.after} /></td>
                  <td>{one.who}</td>
                  <td class="wrap">{one.why}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </section>
    </>
  );
}
