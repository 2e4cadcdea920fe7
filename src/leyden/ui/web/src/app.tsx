// Which view is shown, and what stands around it?

import { useEffect, useState } from "preact/hooks";
import { ClusterPage } from "./cluster/ClusterPage";
import { ComparePage } from "./compare/ComparePage";
import { useAddress } from "./lib/address";
import { get } from "./lib/api";
import { type Liveness, throttled, useStream } from "./lib/live";
import type { Changed } from "./lib/types";
import { Help } from "./parts/Help";
import { Link } from "./parts/Link";
import { LoginPage } from "./parts/LoginPage";
import { TopBar } from "./parts/TopBar";
import { Empty } from "./parts/messages";
import { QueuePage } from "./queue/QueuePage";
import { RunPage } from "./run/RunPage";
import { RunsPage } from "./runs/RunsPage";
import { SweepPage } from "./sweeps/SweepPage";
import { SweepsPage } from "./sweeps/SweepsPage";

/** What every page may know of what goes on: how often anything changed, and what did last. */
export interface Pulse {
  beat: number;
  changed: ReadonlySet<string>;
  live: Liveness;
}

const BEAT_MS = 1000;
const MLFLOW = /^#\/experiments\/([^/?]+)(?:\/runs\/([^/?]+))?/; // no server sees what stands behind #

export function App() {
  const { path } = useAddress();
  const theirs = path === "/" ? MLFLOW.exec(location.hash) : null;
  const pulse = usePulse(path !== "/login" && !theirs);
  const [help, setHelp] = useState(false);
  useEffect(() => {
    if (theirs) void ours(theirs[1] ?? "", theirs[2]).then((to) => location.replace(to));
  }, [theirs?.[0]]);
  useEffect(() => {
    const key = (event: KeyboardEvent): void => {
      if (event.key === "?" && !typing(event)) setHelp((before) => !before);
      if (event.key === "Escape") setHelp(false);
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
  if (theirs) return null;
  if (path === "/login") return <LoginPage />;
  return (
    <>
      <TopBar path={path} live={pulse.live} onHelp={() => setHelp(true)} />
      <main>{view(path, pulse)}</main>
      {help && <Help onClose={() => setHelp(false)} />}
    </>
  );
}

/** Where a link leads that MLflow's client prints: to a run, or to those of an experiment, which is a project here. */
async function ours(experiment: string, run: string | undefined): Promise<string> {
  if (run) return `/runs/${run}`;
  type Found = { experiment: { name: string } };
  const found = await get<Found>("/api/2.0/mlflow/experiments/get", { experiment_id: experiment }).catch(() => null);
  return found ? `/runs?q=${encodeURIComponent(`project=${JSON.stringify(found.experiment.name)}`)}` : "/runs";
}

function view(path: string, pulse: Pulse) {
  const [page = "", ref] = path.split("/").filter(Boolean).map(decoded);
  if (page === "runs" && ref) return <RunPage key={ref} id={ref} pulse={pulse} />;
  if (page === "" || page === "runs") return <RunsPage pulse={pulse} />;
  if (page === "sweeps") return ref ? <SweepPage key={ref} id={ref} pulse={pulse} /> : <SweepsPage pulse={pulse} />;
  if (page === "compare") return <ComparePage pulse={pulse} />;
  if (page === "cluster") return <ClusterPage pulse={pulse} />;
  if (page === "queue") return <QueuePage pulse={pulse} />;
  return <Empty title="There is no such page"><p>See the <Link href="/runs">runs</Link>, the <Link href="/cluster">cluster</Link> or the <Link href="/queue">queue</Link>.</p></Empty>;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a lone % that somebody typed
  }
}

/** One connection for the whole tab; pages ask again for what they show when it concerns them. */
function usePulse(wanted: boolean): Pulse {
  const [pulse, setPulse] = useState<Omit<Pulse, "live">>({ beat: 0, changed: new Set() });
  const [gather] = useState(() => {
    let changed = new Set<string>();
    const flush = throttled(() => {
      const seen = changed;
      changed = new Set();
      setPulse((before) => ({ beat: before.beat + 1, changed: seen }));
    }, BEAT_MS);
    return (ids: readonly string[]): void => {
      ids.forEach((id) => changed.add(id));
      flush();
    };
  });
  const live = useStream(wanted ? "/api/live?table=1" : null, {
    message: (data) => {
      const { changed, all } = data as Changed;
      if (all) gather(["*"]);
      else if (changed.length) gather(changed);
    },
    opened: () => gather(["*"]),
  });
  return { ...pulse, live };
}

export function typing(event: KeyboardEvent): boolean {
  const target = event.target as HTMLElement | null;
  return event.ctrlKey || event.metaKey || event.altKey || !!target?.closest("input:not([type=checkbox], [type=range]), textarea, select, [contenteditable]");
}

