// What a run was given, what it says of itself, what somebody wrote about it.

import { useState } from "preact/hooks";
import { type Fault, send } from "../lib/api";
import { asFault } from "../lib/data";
import { flat } from "../lib/flat";
import type { JobDetail, RunDetail } from "../lib/types";
import { FlatTable } from "../parts/FlatTable";
import { Wrong } from "../parts/messages";

export function ConfigTab({ detail, job, onChanged }: { detail: RunDetail; job: JobDetail | null; onChanged: () => void }) {
  return (
    <div class="columns-2">
      <div>
        <FlatTable title="Configuration" values={flat(detail.config)} empty="Nothing on record: say it with leyden.log_config({...}); a Trainer does so itself" />
        <FlatTable title="Summary" values={flat(detail.summary)} empty="The last values of all metrics count" />
      </div>
      <div>
        <Notes detail={detail} onChanged={onChanged} />
        {job && <FlatTable title="Job" values={flat(job.spec)} empty="" />}
      </div>
    </div>
  );
}

function Notes({ detail, onChanged }: { detail: RunDetail; onChanged: () => void }) {
  const [fault, setFault] = useState<Fault | null>(null);
  const [saved, setSaved] = useState("");
  const { run } = detail;
  const save = (form: HTMLFormElement): void => {
    const said = new FormData(form);
    const text = (name: string): string => String(said.get(name) ?? "").trim();
    const body = { name: text("name"), project: text("project"), tags: text("tags").split(/[\s,]+/).filter(Boolean), note: text("note") };
    send("PATCH", `/api/runs/${run.id}`, body).then(
      () => {
        setFault(null);
        setSaved("Saved");
        onChanged();
      },
      (error: unknown) => setFault(asFault(error)),
    );
  };
  return (
    <section class="panel">
      <h2>About</h2>
      <form
        class="about"
        onInput={() => setSaved("")}
        onSubmit={(event) => {
          event.preventDefault();
          save(event.currentTarget);
        }}
      >
        <label>Name <input name="name" defaultValue={run.name} /></label>
        <label>Project <input name="project" defaultValue={run.project} /></label>
        <label>Tags <input name="tags" defaultValue={run.tags.join(" ")} placeholder="baseline sweep-3" /></label>
        <label>Note <textarea name="note" rows={4} defaultValue={run.note} /></label>
        <div><button>Save</button> <span class="muted" role="status">{saved}</span></div>
        {fault && <Wrong fault={fault} />}
        <p class="muted">Record: <code>{detail.path}</code></p>
      </form>
    </section>
  );
}
