// One run: how it is, its charts, what it printed, what it was given, which code, what it left, what happened to it.

import { useEffect } from "preact/hooks";
import type { Pulse } from "../app";
import { useAddress } from "../lib/address";
import { get } from "../lib/api";
import { useData } from "../lib/data";
import { useSlowBeat } from "../lib/live";
import { ENDED } from "../lib/format";
import type { JobDetail, RunDetail } from "../lib/types";
import { Link } from "../parts/Link";
import { Empty, Wrong } from "../parts/messages";
import { CodeTab } from "./CodeTab";
import { ConfigTab } from "./ConfigTab";
import { EventsTab } from "./EventsTab";
import { FilesTab } from "./FilesTab";
import { LogTab } from "./LogTab";
import { MediaTab } from "./MediaTab";
import { RunCharts } from "./RunCharts";
import { RunHead } from "./RunHead";

const TABS = ["charts", "system", "media", "logs", "config", "code", "files", "events"] as const;
type Tab = (typeof TABS)[number];
const NOT_LIVE_MS = 3000;
const AGAIN_MS = 3000;

export function RunPage({ id, pulse }: { id: string; pulse: Pulse }) {
  const { query } = useAddress();
  const loaded = useData(id, (signal) => get<RunDetail>(`/api/runs/${encodeURIComponent(id)}`, {}, signal), pulse.live === "live" ? 0 : NOT_LIVE_MS);
  const detail = loaded.data;
  const job = useData(detail?.run.job_id ?? null, (signal) => get<JobDetail>(`/api/jobs/${detail?.run.job_id}`, {}, signal));
  const concerned = detail === null || pulse.changed.has("*") || pulse.changed.has(detail.run.id);
  const beat = useSlowBeat(concerned ? pulse.beat : 0, AGAIN_MS);
  useEffect(() => {
    if (!beat) return;
    loaded.reload();
    if (detail?.run.job_id) job.reload();
  }, [beat]);
  useEffect(() => {
    if (detail) document.title = `${detail.run.name} · Leyden`;
    return () => void (document.title = "Leyden");
  }, [detail?.run.name]);
  if (!detail) return loaded.fault ? <Wrong fault={loaded.fault} retry={loaded.reload} /> : <p class="muted nothing">…</p>;
  const tabs = TABS.filter((tab) => there(tab, detail, job.data));
  const said = query.get("tab") as Tab | null;
  const tab = said && tabs.includes(said) ? said : "charts";
  const changed = (): void => (loaded.reload(), job.reload());
  return (
    <div class={`run-page${tab === "logs" ? " full" : ""}`}>
      {loaded.fault && <Wrong fault={loaded.fault} retry={loaded.reload} />}
      <RunHead run={detail.run} job={job.data} onChanged={changed} />
      {detail.dropped_names > 0 && (
        <p class="warned nothing">It logged more than 100,000 names: {detail.dropped_names.toLocaleString("en")} of them are not on record.</p>
      )}
      <nav class="tabs" aria-label="Parts of the run">
        {tabs.map((one) => (
          <Link key={one} href={tabHref(detail.run.id, one, query)} class={one === tab ? "here" : ""} aria-current={one === tab ? "page" : undefined}>
            {one}
          </Link>
        ))}
      </nav>
      <Content tab={tab} detail={detail} job={job.data} beat={beat} onChanged={changed} />
    </div>
  );
}

function Content({ tab, detail, job, beat, onChanged }: { tab: Tab; detail: RunDetail; job: JobDetail | null; beat: number; onChanged: () => void }) {
  const { run, metrics } = detail;
  const active = !ENDED.has(run.state);
  const tail = run.id.slice(-4);
  if (tab === "charts") return <RunCharts run={run} metrics={metrics.filter((one) => !isSystem(one.name))} x="step" active={active} tail={tail} />;
  if (tab === "system") return <RunCharts run={run} metrics={metrics.filter((one) => isSystem(one.name))} x="time" active={active} tail={tail} />;
  if (tab === "media") return <MediaTab run={run.id} media={detail.media} />;
  if (tab === "config") return <ConfigTab detail={detail} job={job} onChanged={onChanged} />;
  if (!job) return <Empty title="This run is no job of this server" commands={[["leyden run train.py", "keeps its output, its code and its files too"]]} />;
  if (tab === "logs") return <LogTab job={job.job.id} ranks={rankCount(job)} attempts={Math.max(1, job.job.attempt)} active={active} />;
  if (tab === "code") return <CodeTab detail={job} />;
  return tab === "files" ? <FilesTab job={job.job.id} beat={beat} /> : <EventsTab detail={job} />;
}

function there(tab: Tab, detail: RunDetail, job: JobDetail | null): boolean {
  if (tab === "media") return detail.media.length > 0;
  if (tab === "system") return detail.metrics.some((one) => isSystem(one.name));
  return ["charts", "config"].includes(tab) || job !== null || detail.run.job_id !== null;
}

function isSystem(name: string): boolean {
  return name.startsWith("system/");
}

/** As many as it asked for, else one for each GPU. */
function rankCount(job: JobDetail): number {
  const asked = Number(job.spec["ranks"]);
  return asked || Math.max(1, job.job.devices.filter((name) => name.startsWith("gpu:")).length);
}

/** How charts are drawn stays; what is said of logs or code alone does not. */
function tabHref(id: string, tab: Tab, query: URLSearchParams): string {
  const kept = new URLSearchParams();
  for (const name of ["smooth", "log", "other", "overlay"]) {
    const value = query.get(name);
    if (value !== null) kept.set(name, value);
  }
  if (tab !== "charts") kept.set("tab", tab);
  const text = kept.toString();
  return `/runs/${id}${text ? `?${text}` : ""}`;
}

