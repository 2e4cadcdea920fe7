// One sweep: how it is, its rungs and curves, its trials, which parameter mattered, what was searched.

import { useEffect } from "preact/hooks";
import type { Pulse } from "../app";
import { change, useAddress } from "../lib/address";
import { get } from "../lib/api";
import { useData } from "../lib/data";
import { useSlowBeat } from "../lib/live";
import { FlatTable } from "../parts/FlatTable";
import { Command, Wrong } from "../parts/messages";
import { ChartsTab } from "./ChartsTab";
import { ParametersTab } from "./ParametersTab";
import { SweepHead } from "./SweepHead";
import { TrialsTab } from "./TrialsTab";
import { over, shell, type SweepDetail } from "./types";

const TABS = ["charts", "trials", "parameters", "space"] as const;
const AGAIN_MS = 1000;
const CALM_MS = 5000; // of what has ended, or is large
const LARGE = 2000; // trials: a few hundred bytes each

export function SweepPage({ id, pulse }: { id: string; pulse: Pulse }) {
  const { query } = useAddress();
  const loaded = useData(id, (signal) => get<SweepDetail>(`/api/sweeps/${encodeURIComponent(id)}`, {}, signal), CALM_MS);
  const detail = loaded.data;
  const calm = detail !== null && (over(detail.sweep) || detail.trials.length > LARGE);
  const beat = useSlowBeat(calm ? 0 : pulse.beat, AGAIN_MS) + useSlowBeat(calm ? pulse.beat : 0, CALM_MS);
  useEffect(() => {
    if (beat) loaded.reload();
  }, [beat]);
  useEffect(() => {
    if (detail) document.title = `${detail.sweep.name} · Leyden`;
    return () => void (document.title = "Leyden");
  }, [detail?.sweep.name]);
  if (!detail) return loaded.fault ? <Wrong fault={loaded.fault} retry={loaded.reload} /> : <p class="muted nothing">…</p>;
  const tabs = detail.sweep.metrics.length ? TABS : TABS.filter((one) => one !== "charts" && one !== "parameters");
  const tab = tabs.find((one) => one === query.get("tab")) ?? tabs[0]!;
  return (
    <div class={`sweep-page${tab === "trials" ? " full" : ""}`}>
      {loaded.fault && <Wrong fault={loaded.fault} retry={loaded.reload} />}
      <SweepHead detail={detail} onChanged={loaded.reload} />
      <nav class="tabs" aria-label="Parts of the sweep">
        {tabs.map((one) => (
          <a key={one} href={`?tab=${one}`} class={one === tab ? "here" : ""} aria-current={one === tab ? "page" : undefined} onClick={(event) => (event.preventDefault(), change({ tab: one === tabs[0] ? null : one }))}>
            {one}
          </a>
        ))}
      </nav>
      {tab === "charts" && <ChartsTab detail={detail} />}
      {tab === "trials" && <TrialsTab detail={detail} />}
      {tab === "parameters" && <ParametersTab detail={detail} />}
      {tab === "space" && <Space detail={detail} />}
    </div>
  );
}

function Space({ detail }: { detail: SweepDetail }) {
  return (
    <>
      <section class="panel">
        <h2>Command</h2>
        <p class="nothing"><Command text={shell(detail.command)} /></p>
      </section>
      <FlatTable title="Search space" values={new Map(Object.entries(detail.space))} empty="Nothing varies" />
    </>
  );
}
