// What a run left: artifacts and checkpoints, to look at and to download.

import { useData } from "../lib/data";
import { get } from "../lib/api";
import { clock, number, size } from "../lib/format";
import type { Artifacts, Checkpoint } from "../lib/types";
import { Command, Empty, Wrong } from "../parts/messages";

export function FilesTab({ job, beat }: { job: string; beat: number }) {
  const artifacts = useData(`artifacts ${beat}`, (signal) => get<Artifacts>(`/api/jobs/${job}/artifacts`, {}, signal));
  const checkpoints = useData(`checkpoints ${beat}`, (signal) => get<Checkpoint[]>(`/api/jobs/${job}/checkpoints`, {}, signal));
  const files = artifacts.data?.artifacts ?? [];
  const nothing = artifacts.data && checkpoints.data && !files.length && !checkpoints.data.length;
  const tail = job.slice(-4);
  if (nothing) {
    return (
      <Empty title="This run left no files">
        <p class="muted">What a script writes below <code>leyden.run_dir() / "artifacts"</code> is kept, and so are checkpoints of a Trainer.</p>
      </Empty>
    );
  }
  return (
    <>
      {artifacts.fault && <Wrong fault={artifacts.fault} retry={artifacts.reload} />}
      {checkpoints.fault && <Wrong fault={checkpoints.fault} retry={checkpoints.reload} />}
      <section class="panel">
        <h2>Checkpoints <span class="grow" /> <Command text={`leyden ckpt ${tail}`} /></h2>
        <div class="scroll-x">
          <table class="plain">
            <thead><tr><th>Name</th><th class="right">Epoch</th><th class="right">Step</th><th>Metrics</th><th class="right">Size</th><th>Written</th><th>Files</th></tr></thead>
            <tbody>
              {[...(checkpoints.data ?? [])].reverse().map((one) => (
                <tr key={one.name}>
                  <td>
                    {one.name} {one.names.map((name) => <span key={name} class="tag">{name}</span>)}
                    {one.pinned && <span class="tag">pinned</span>}
                    {one.damaged && <span class="notanumber">damaged</span>}
                  </td>
                  <td class="right num">{one.epoch < 0 ? "" : one.epoch}</td>
                  <td class="right num">{one.step < 0 ? "" : number(one.step)}</td>
                  <td class="num">{Object.entries(one.metrics).map(([name, value]) => `${name} ${number(value)}`).join("  ")}</td>
                  <td class="right num">{size(one.size_bytes)}</td>
                  <td>{clock(one.created_at)}</td>
                  <td>
                    {one.files.map((file) => (
                      <a key={file.path} class="file" title={size(file.size_bytes)} download href={`/api/jobs/${job}/checkpoints/${encodeURIComponent(one.name)}/files/${path(file.path)}`}>{file.path}</a>
                    ))}
                  </td>
                </tr>
              ))}
              {checkpoints.data?.length === 0 && <tr><td colSpan={7} class="muted">None</td></tr>}
            </tbody>
          </table>
        </div>
      </section>
      <section class="panel">
        <h2>Artifacts <span class="grow" /> <Command text={`leyden cp ${tail}: .`} /></h2>
        <div class="scroll-x">
          <table class="plain">
            <thead><tr><th>Path</th><th class="right">Size</th><th>Changed</th><th class="right">Attempt</th><th>SHA-256</th></tr></thead>
            <tbody>
              {files.map((one) => (
                <tr key={one.path}>
                  <td><a download href={`/api/jobs/${job}/artifacts/${path(one.path)}`}>{one.path}</a></td>
                  <td class="right num">{size(one.size_bytes)}</td>
                  <td>{clock(one.modified_at)}</td>
                  <td class="right num">{one.attempt}</td>
                  <td><code class="muted">{one.sha256.slice(0, 12)}</code></td>
                </tr>
              ))}
              {artifacts.data?.refused.map((one) => (
                <tr key={one.path}><td>{one.path}</td><td colSpan={4} class="notanumber">not kept: {one.why}</td></tr>
              ))}
              {artifacts.data && !files.length && <tr><td colSpan={5} class="muted">{artifacts.data.gone ? "They were let go by the server's rule" : "None"}</td></tr>}
            </tbody>
          </table>
        </div>
      </section>
    </>
  );
}

function path(text: string): string {
  return text.split("/").map(encodeURIComponent).join("/");
}
