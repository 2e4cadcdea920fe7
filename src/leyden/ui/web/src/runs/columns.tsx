// Which columns does the table of runs have, how wide are they, and what stands in a cell?

import { Link } from "../parts/Link";
import { Bar, State } from "../parts/State";
import type { CsvCell } from "../lib/save";
import { ago, devices, done, duration, ENDED, exact, number, runtime, short, toNumber } from "../lib/format";
import type { Names, Run } from "../lib/types";
import type { Column as Drawn } from "../table/Table";

/** Its name is what the server calls it. */
export interface Column extends Drawn<Run> {
  attribute: boolean; // else a metric or a value of the configuration
  plain: (run: Run) => CsvCell;
}

type Attribute = Omit<Column, "name" | "attribute" | "right"> & { right?: boolean };

const ATTRIBUTES: Record<string, Attribute> = {
  state: {
    label: "State", width: 132, plain: (run) => run.state,
    draw: (run) => (
      <>
        <State state={run.state} />
        {run.progress !== null && !ENDED.has(run.state) && (
          <span class="faint num"> {done(run.progress)}</span>
        )}
      </>
    ),
  },
  name: { label: "Name", width: 190, plain: (run) => run.name, draw: (run) => <Link href={`/runs/${run.id}`}>{run.name || "(no name)"}</Link> },
  id: { label: "Id", width: 52, plain: (run) => run.id, draw: (run) => <code title={run.id}>{short(run.id)}</code> },
  user: { label: "User", width: 80, plain: (run) => run.user, draw: (run) => run.user },
  project: { label: "Project", width: 100, plain: (run) => run.project, draw: (run) => run.project },
  created_at: {
    label: "Created", width: 92, plain: (run) => exact(run.created_at),
    draw: (run) => <span title={exact(run.created_at)}>{ago(run.created_at)}</span>,
  },
  started_at: {
    label: "Started", width: 92, plain: (run) => (run.started_at === null ? "" : exact(run.started_at)),
    draw: (run) => (run.started_at === null ? "" : <span title={exact(run.started_at)}>{ago(run.started_at)}</span>),
  },
  ended_at: {
    label: "Ended", width: 92, plain: (run) => (run.ended_at === null ? "" : exact(run.ended_at)),
    draw: (run) => (run.ended_at === null ? "" : <span title={exact(run.ended_at)}>{ago(run.ended_at)}</span>),
  },
  duration_s: {
    label: "Runtime", width: 76, right: true, plain: (run) => runtime(run),
    draw: (run) => (run.started_at === null ? "" : duration(runtime(run))),
  },
  progress: {
    label: "Progress", width: 130, plain: (run) => run.progress,
    draw: (run) => (run.progress === null ? "" : (
      <span title={run.eta_s === null ? "" : `${duration(run.eta_s)} left`}>
        <Bar share={run.progress} label="progress" /> <span class="num">{done(run.progress)}</span>
      </span>
    )),
  },
  tag: {
    label: "Tags", width: 130, plain: (run) => run.tags.join(" "),
    draw: (run) => <>{run.tags.map((tag) => <span key={tag} class="tag">{tag}</span>)}</>,
  },
  devices: { label: "Devices", width: 110, plain: (run) => run.devices.join(" "), draw: (run) => devices(run.devices) },
  reason: { label: "Reason", width: 260, plain: (run) => run.reason, draw: (run) => <span title={run.reason}>{run.reason}</span> },
};

const ALWAYS = ["state", "name", "id", "user", "created_at", "duration_s"];
const METRICS = 5;
const CONFIG = 4;

/** The attributes there are columns for. */
export const ATTRIBUTE_NAMES = Object.keys(ATTRIBUTES);

/** A column by the name that the server gives it. */
export function column(name: string): Column {
  const known = ATTRIBUTES[name];
  if (known) return { right: false, ...known, name, attribute: true };
  return {
    name, label: label(name), right: true, attribute: false,
    width: Math.round(Math.min(180, Math.max(86, label(name).length * 7.2 + 34))),
    draw: (run) => {
      const value = run.values[name];
      const wrong = value === "nan" || value === "inf" || value === "-inf";
      return <span class={wrong ? "notanumber" : "num"} title={value == null ? "" : String(value)}>{number(value)}</span>;
    },
    plain: (run) => {
      const value = run.values[name];
      return value === "nan" || value === "inf" || value === "-inf" ? toNumber(value) : value;
    },
  };
}

/** As it stands above a column. */
export function label(name: string): string {
  return ATTRIBUTES[name]?.label ?? name.replace(/^(config|metrics)\./, "");
}

/** What is shown until somebody chooses: the metrics that most runs have, validation first, and what they were given. */
export function defaultColumns(names: Names | null): string[] {
  if (!names) return ALWAYS;
  const metrics = names.metrics.map((one) => one.name).filter((name) => !/^(system\/|epoch$|progress$|time\/)/.test(name));
  const first = [...metrics.filter((name) => /val|test|acc/i.test(name)), ...metrics.filter((name) => !/val|test|acc/i.test(name))];
  const given = names.config.map((one) => one.name);
  const own = given.filter((name) => !name.startsWith("args."));
  const args = given.filter((name) => name.startsWith("args.") && !own.includes(name.slice(5))); // else it is said twice
  const config = [...own, ...args].map((name) => `config.${name}`);
  return [...ALWAYS, ...first.slice(0, METRICS).map(asColumn), ...config.slice(0, CONFIG)];
}

/** A metric as a column's name: one that is called as an attribute is said in full. */
export function asColumn(metric: string): string {
  return metric in ATTRIBUTES || metric.startsWith("config.") ? `metrics.${metric}` : metric;
}
