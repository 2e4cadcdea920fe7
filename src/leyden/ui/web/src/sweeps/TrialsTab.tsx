// All trials of a sweep: filter, sort by anything, select some and compare them.

import { useMemo } from "preact/hooks";
import { go } from "../lib/address";
import { clock, duration, exact, number } from "../lib/format";
import { Link } from "../parts/Link";
import { State } from "../parts/State";
import { Empty } from "../parts/messages";
import type { Cell, LocalColumn } from "../table/local";
import { LocalTable } from "../table/LocalTable";
import { bestFirst } from "./better";
import { metricName, type SweepDetail, type Trial } from "./types";

const BEST = 10; // are compared while none is selected

/** A trial as a row: its number is what the address calls it. */
interface Row extends Trial {
  id: string;
  name: string;
  best: boolean;
  front: boolean;
}

export function TrialsTab({ detail }: { detail: SweepDetail }) {
  const { sweep, trials } = detail;
  const front = new Set(detail.front);
  const items = useMemo(
    () => trials.map((one): Row => ({ ...one, id: String(one.number), name: `trial ${one.number}`, best: one.number === sweep.best?.number, front: front.has(one.number) })),
    [detail],
  );
  const names = [...new Set(trials.slice(0, 1000).flatMap((one) => Object.keys(one.params)))];
  const columns = useMemo(() => columnsOf(detail, names), [names.join(), sweep.id, trials.some((one) => one.bracket), trials.some((one) => one.parent !== null)]);
  if (!trials.length) return <Empty title="There are no trials yet" small><p class="muted">{sweep.reason}</p></Empty>;
  return (
    <LocalTable
      word="trial" example="state=paused value<0.3 lr>1e-3 note~memory" items={items} columns={columns} pinned="number" order="number" file={`${sweep.name}.csv`}
      onOpen={(one) => one.job_id && go(`/runs/${one.job_id}`)} best={(shown) => bestFirst(shown, sweep).slice(0, BEST)}
      onCompare={(rows) => go(`/compare?runs=${rows.flatMap((one) => one.job_id || []).join(",")}`)}
    />
  );
}

type Made = Omit<LocalColumn<Row>, "right"> & { right?: boolean };

function columnsOf({ sweep, trials }: SweepDetail, names: readonly string[]): LocalColumn<Row>[] {
  const several = sweep.metrics.length > 1;
  const first = [
    { name: "number", label: "Trial", width: 84, value: (one) => one.number, draw },
    { name: "state", label: "State", width: 98, value: (one) => one.state, draw: (one) => <span title={one.note}><State state={one.state} /></span> },
    ...(several ? [{ name: "front", label: "Front", width: 56, value: (one) => one.front, draw: (one) => (one.front ? <span class="star" title="No other trial beats it in all metrics">◆</span> : "") } satisfies Made] : []),
    ...sweep.metrics.map((metric, index) => {
      const value = (one: Row): Cell => (several ? (one.values[index] ?? null) : one.value);
      return numeric(index ? metricName(metric) : "value", metricName(metric), value);
    }),
  ] satisfies Made[];
  const params = names.map((name): Made => {
    const value = (one: Row): Cell => one.params[name] ?? null;
    const taken = [...first, ...rest].some((one) => one.name === name);
    return { ...numeric(taken ? `params.${name}` : name, name, value), right: trials.some((one) => typeof one.params[name] === "number") };
  });
  const some = rest.filter((one) => (one.name === "bracket" ? trials.some((trial) => trial.bracket) : one.name !== "parent" || trials.some((trial) => trial.parent !== null)));
  return [...first, ...params, ...some].map((one) => ({ right: false, ...one, label: one.name === "resource" ? capital(sweep.resource) : one.label }));
}

function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

function draw(one: Row) {
  const mark = one.best ? <span class="star" title="the best so far"> ★</span> : "";
  return <>{one.job_id ? <Link href={`/runs/${one.job_id}`}>{String(one.number)}</Link> : one.number}{mark}</>;
}

function numeric(name: string, label: string, value: (one: Row) => Cell): Made {
  return {
    name, label, right: true, value, width: Math.round(Math.min(180, Math.max(82, label.length * 7.2 + 34))),
    draw: (one) => <span class="num" title={String(value(one) ?? "")}>{number(value(one))}</span>,
  };
}

const rest: Made[] = [
  numeric("resource", "Resource", (one) => one.resource),
  numeric("bracket", "Bracket", (one) => one.bracket),
  numeric("parent", "Parent", (one) => one.parent),
  numeric("attempts", "Attempts", (one) => one.attempts),
  { name: "device_s", label: "Device time", width: 96, right: true, value: (one) => one.device_s, draw: (one) => <span class="num">{duration(one.device_s)}</span> },
  {
    name: "started_at", label: "Started", width: 96, value: (one) => one.started_at, plain: (one) => (one.started_at === null ? "" : exact(one.started_at)),
    draw: (one) => (one.started_at === null ? "" : <span class="num" title={exact(one.started_at)}>{clock(one.started_at)}</span>),
  },
  { name: "note", label: "Note", width: 320, value: (one) => one.note, draw: (one) => <span title={one.note}>{one.note}</span> },
];
