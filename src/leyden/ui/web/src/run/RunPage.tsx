// One run: how it is, its charts, what it printed, what it was given, which code, what it left, what happened to it.

import { useEffect, useRef } from "preact/hooks";
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
import { outputOfJob, outputOfRun } from "./useLog";

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
      <Tabs id={detail.run.id} tabs={tabs} tab={tab} query={query} />
      <Content tab={tab} detail={detail} job={job.data} beat={beat} onChanged={changed} />
    </div>
  );
}

function Tabs({ id, tabs, tab, query }: { id: string; tabs: readonly Tab[]; tab: Tab; query: URLSearchParams }) {
  const box = useRef<HTMLElement>(null);
  useEffect(() => {
    const here = box.current?.querySelector<HTMLElement>(".here");
    if (box.current && here) box.current.scrollLeft = here.offsetLeft - box.current.clientWidth / 2; // not all fit on a narrow screen
  }, [tab]);
  return (
    <nav class="tabs" aria-label="Parts of the run" ref={box}>
      {tabs.map((one) => (
        <Link key={one} href={tabHref(id, one, query)} class={one === tab ? "here" : ""} aria-current={one === tab ? "page" : undefined}>
          {one}
        </Link>
      ))}
    </nav>
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
  if (tab === "logs" && !run.job_id) return <LogTab key={run.id} output={(rank) => outputOfRun(run.id, rank)} ranks={ranksOf(detail)} attempts={1} active={active} nothing={<NoOutput />} />;
  if (!job) return <p class="muted nothing">…</p>;
  const id = job.job.id;
  if (tab === "logs") {
    const nothing = <Empty title={active ? "Nothing was printed yet" : "Nothing was printed"} commands={[[`leyden logs -f ${tail}`, "follows it in a terminal"]]} />;
    return <LogTab key={id} output={(rank, attempt) => outputOfJob(id, rank, attempt)} ranks={rankCount(job)} attempts={Math.max(1, job.job.attempt)} active={active} nothing={nothing} />;
  }
  if (tab === "code") return <CodeTab detail={job} />;
  return tab === "files" ? <FilesTab job={id} beat={beat} /> : <EventsTab detail={job} />;
}

/** A program that nobody else started prints where it was started. */
function NoOutput() {
  return (
    <Empty title="The output of this run is not on record" commands={[["leyden run train.py", "runs it as a job: its output, code and files are kept"]]}>
      <p class="muted">It was started by hand, and printed there.</p>
    </Empty>
  );
}

function ranksOf(detail: RunDetail): number {
  return 1 + Math.max(0, ...detail.metrics.flatMap((one) => one.ranks));
}

function there(tab: Tab, detail: RunDetail, job: JobDetail | null): boolean {
  if (tab === "media") return detail.media.length > 0;
  if (tab === "system") return detail.metrics.some((one) => isSystem(one.name));
  return ["charts", "logs", "config"].includes(tab) || job !== null || detail.run.job_id !== null;
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
  for (const name of ["smooth", "log", "other", "wide", "overlay"]) {
    const value = query.get(name);
    if (value !== null) kept.set(name, value);
  }
  if (tab !== "charts") kept.set("tab", tab);
  const text = kept.toString();
  return `/runs/${id}${text ? `?${text}` : ""}`;
}

