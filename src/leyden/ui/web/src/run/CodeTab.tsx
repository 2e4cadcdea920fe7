// Which code ran: the commit, what differed from it, and what differs from another job.

import { change, useAddress } from "../lib/address";
import { ask, get } from "../lib/api";
import { useData } from "../lib/data";
import type { Difference, JobDetail, RunsPage } from "../lib/types";
import { Patch } from "../parts/Patch";
import { Empty, Wrong } from "../parts/messages";

export function CodeTab({ detail }: { detail: JobDetail }) {
  const { query } = useAddress();
  const other = query.get("against") ?? "";
  const { commit, job, code } = detail;
  return (
    <>
      <form
        class="toolbar"
        onSubmit={(event) => {
          event.preventDefault();
          change({ against: String(new FormData(event.currentTarget).get("other") ?? "").trim() });
        }}
      >
        <span class="muted">Compare with job</span>
        <input key={other} name="other" defaultValue={other} placeholder="id, its end, or a name" aria-label="Compare with job" />
        <button>Compare</button>
        <Earlier detail={detail} />
        {other && <button type="button" onClick={() => change({ against: null })}>Uncommitted changes</button>}
        <span class="grow" />
        {code && <a class="muted" href={`/api/code/${code}`} download={`${job.id}.tar.gz`}>Download the code</a>}
      </form>
      <section class="panel">
        <h2>
          {commit ? (
            <>
              Commit <code>{commit.commit.slice(0, 10)}</code>
              {commit.branch && <span class="muted">on {commit.branch}</span>}
              {commit.remote && <span class="muted">{commit.remote}</span>}
              <span class="grow" />
              <span class="muted">{commit.changed.length ? `${commit.changed.length} files differed` : "nothing differed"}</span>
            </>
          ) : (
            <span class="muted">{code ? "From a folder without a commit" : "Ran in place: no copy was made"}</span>
          )}
        </h2>
        {other ? <Against job={job.id} other={other} /> : <Uncommitted job={job.id} wanted={commit?.patch ?? false} />}
      </section>
    </>
  );
}

/** The newest job of the same name before this one. */
function Earlier({ detail }: { detail: JobDetail }) {
  const { name, created_at, id } = detail.job;
  const filter = `name=${JSON.stringify(name)} created_at<${created_at}`;
  const found = useData(`earlier ${id}`, (signal) => get<RunsPage>("/api/runs", { filter, sort: "-created_at", limit: 1 }, signal));
  const earlier = found.data?.rows[0];
  if (!earlier?.job_id) return null;
  return <button type="button" onClick={() => change({ against: earlier.id })}>the {name} before: {earlier.id.slice(-4)}</button>;
}

function Uncommitted({ job, wanted }: { job: string; wanted: boolean }) {
  const { data, fault } = useData(wanted ? `patch ${job}` : null, async (signal) => (await ask(`/api/jobs/${job}/patch`, { signal })).text());
  if (fault) return <Wrong fault={fault} />;
  if (!wanted) return <Empty small title="No uncommitted changes on record"><p class="muted">Compare with another job above.</p></Empty>;
  return data === null ? <p class="muted nothing">…</p> : <Patch text={data} />;
}

function Against({ job, other }: { job: string; other: string }) {
  const { data, fault } = useData(`${job} ${other}`, (signal) => get<Difference>(`/api/jobs/${encodeURIComponent(other)}/difference`, { to: job }, signal));
  if (fault) return <Wrong fault={fault} />;
  if (!data) return <p class="muted nothing">…</p>;
  if (!data.facts.length && !data.files.length) return <p class="muted nothing">No difference in code, arguments, variables, environment, size or policy</p>;
  return (
    <>
      {data.facts.length > 0 && (
        <table class="plain">
          <thead><tr><th /><th>What</th><th>{data.before.slice(-4)}</th><th>{data.after.slice(-4)}</th></tr></thead>
          <tbody>
            {data.facts.map((fact) => (
              <tr key={`${fact.section} ${fact.name}`}>
                <td class="muted">{fact.section}</td>
                <td><code>{fact.name}</code></td>
                <td class="del"><code>{fact.before ?? "–"}</code></td>
                <td class="add"><code>{fact.after ?? "–"}</code></td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {data.files.map((file) => (
        <details key={file.path} open>
          <summary>
            <code>{file.path}</code> <span class="muted">{file.what}{file.note && `, ${file.note}`}</span>{" "}
            {file.text && <span class="num"><span class="plus">+{file.added}</span> <span class="minus">−{file.removed}</span></span>}
          </summary>
          {file.text && <Patch text={file.text} />}
        </details>
      ))}
    </>
  );
}
