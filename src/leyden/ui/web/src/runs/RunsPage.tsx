// All runs: filter, sort, group, choose columns, select some and compare them.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Pulse } from "../app";
import { change, go, hrefWith, joined, list, useAddress } from "../lib/address";
import { get } from "../lib/api";
import { useAway } from "../lib/away";
import { asFault, useData } from "../lib/data";
import { plural } from "../lib/format";
import { csv, saveText } from "../lib/save";
import type { Names, Run, RunsPage as Page, Value } from "../lib/types";
import { Empty, Wrong } from "../parts/messages";
import { readWidths, sorted, writtenWidths } from "../table/address";
import { selectedNow, toggleSelected, useCursor, useKeys } from "../table/keys";
import { Table } from "../table/Table";
import { ColumnPicker } from "./ColumnPicker";
import { ATTRIBUTE_NAMES, column, type Column, defaultColumns } from "./columns";
import { FilterBox } from "./FilterBox";
import { GroupTable } from "./GroupTable";
import { type Rows, useRuns } from "./useRuns";

const NEWEST = "-created_at";
const GROUPS = ["user", "project", "name", "state", "tag", "host"];
const AT_ONCE = 1000;

export function RunsPage({ pulse }: { pulse: Pulse }) {
  const { query } = useAddress();
  const filter = query.get("q") ?? "";
  const group = query.get("group") ?? "";
  const sort = query.get("sort") ?? NEWEST;
  const archived = query.get("archived") === "1";
  const names = useData("names", (signal) => get<Names>("/api/runs/names", {}, signal)).data;
  const chosen = list(query, "cols");
  const shown = chosen.length ? chosen : defaultColumns(names);
  const pinned = new Set(query.has("pin") ? list(query, "pin") : ["name"]);
  const selected = new Set(list(query, "sel"));
  const widths = readWidths(list(query, "w"));
  const columns = shown.map(column).map((one) => ({ ...one, width: widths.get(one.name) ?? one.width }));
  const values = columns.filter((one) => !one.attribute).map((one) => one.name);
  const asked = { filter, sort: sort.split(",").map(asKey).join(), group: group && asKey(group), columns: values.map(asKey).join(), archived: archived || undefined };
  const rows = useRuns(asked, pulse.beat);
  const [cursor, setCursor, cursorNow] = useCursor();
  const [picking, setPicking] = useState(false);
  const holder = useRef<HTMLSpanElement>(null);
  useAway(holder, picking, () => setPicking(false));

  const compare = (): void => {
    const now = selectedNow();
    if (now.length > 1) go(`/compare?runs=${now.join(",")}`);
    else if (!now.length && filter) go(`/compare?q=${encodeURIComponent(filter)}`);
  };
  useKeys({ rows, cursorNow, setCursor, open: (run) => go(`/runs/${run.id}`), select: toggleSelected, compare, clear: () => (picking ? setPicking(false) : change({ sel: null }, "replace")) });
  useEffect(() => setCursor(-1), [filter, sort, group]);

  const wrongFilter = rows.fault?.status === 400 && filter ? rows.fault : null;
  return (
    <div class="runs">
      <div class="toolbar">
        <FilterBox value={filter} fault={wrongFilter} names={filterNames(names)} onChange={(q) => change({ q }, "replace")} />
        <label class="muted">
          Group{" "}
          <select value={group} onChange={(event) => change({ group: event.currentTarget.value })} aria-label="Group by">
            <option value="">–</option>
            {[...GROUPS, ...(names?.config ?? []).slice(0, 50).map((one) => `config.${one.name}`)].map((name) => (
              <option key={name} value={name}>{name}</option>
            ))}
          </select>
        </label>
        <span class="holder" ref={holder}>
          <button class={picking ? "on" : ""} aria-expanded={picking} onClick={() => setPicking(!picking)}>Columns</button>
          {picking && (
            <ColumnPicker
              names={names}
              shown={shown}
              pinned={pinned}
              onColumns={(now) => change({ cols: joined(now) }, "replace")}
              onPin={(name) => change({ pin: joined(pinned.has(name) ? [...pinned].filter((one) => one !== name) : [...pinned, name]) || "," }, "replace")}
              onReset={() => change({ cols: null, pin: null, w: null }, "replace")}
            />
          )}
        </span>
        <button class="primary" disabled={selected.size ? selected.size < 2 : !filter || rows.total < 2} title="The selected, or all that pass the filter (c)" onClick={compare}>
          Compare{selected.size ? ` ${selected.size}` : filter && rows.total > 1 ? " all" : ""}
        </button>
        <CsvButton columns={columns} asked={asked} />
        <span class="grow" />
        <span class="muted num" role="status">{rows.loading ? "…" : rows.fault ? "" : plural(rows.total, group ? "group" : "run")}</span>
      </div>
      {rows.fault && !wrongFilter && <Wrong fault={rows.fault} />}
      <Body rows={rows} filter={filter} group={group} values={values}>
        <Table
          label="Runs"
          rows={rows}
          columns={columns}
          pinned={pinned}
          sort={sort.split(",")}
          cursor={cursor}
          selected={selected}
          onWidth={(name, width) => change({ w: writtenWidths(widths, name, width) }, "replace")}
          onSort={(name, add) => change({ sort: sorted(sort.split(","), name, add).join() })}
          onCursor={setCursor}
          onSelect={toggleSelected}
        />
      </Body>
    </div>
  );
}

function Body({ rows, filter, group, values, children }: {
  rows: Rows;
  filter: string;
  group: string;
  values: string[];
  children: preact.ComponentChildren;
}) {
  if (group && rows.groups) {
    return <GroupTable groups={rows.groups} columns={values} href={(key) => hrefWith({ q: narrowed(filter, key), group: null })} />;
  }
  if (rows.total || rows.loading || rows.fault) return <>{children}</>;
  if (filter) {
    return (
      <Empty title="No run is like that">
        <button onClick={() => change({ q: null })}>Show all runs</button>
      </Empty>
    );
  }
  return (
    <Empty
      title="There are no runs yet"
      commands={[
        ["leyden run train.py", "runs a script as a job, and its record appears here"],
        ["python train.py", "is recorded too, where it logs with leyden.log or a Trainer"],
      ]}
    />
  );
}

function CsvButton({ columns, asked }: { columns: Column[]; asked: Record<string, string | boolean | undefined> }) {
  const [said, setSaid] = useState("");
  const save = async (): Promise<void> => {
    const found: Run[] = [];
    for (let total = 1; found.length < total; ) {
      const page = await get<Page>("/api/runs", { ...asked, group: undefined, offset: found.length, limit: AT_ONCE });
      total = page.rows.length ? page.total : 0;
      found.push(...page.rows);
      setSaid(`${found.length} …`);
    }
    saveText("runs.csv", csv([columns.map((one) => one.name), ...found.map((run) => columns.map((one) => one.plain(run)))]));
    setSaid("");
  };
  return (
    <button title="All of these runs, with these columns" onClick={() => void save().catch((error: unknown) => setSaid(asFault(error).found))}>
      CSV {said}
    </button>
  );
}

function filterNames(names: Names | null): string[] {
  if (!names) return ATTRIBUTE_NAMES;
  return [...ATTRIBUTE_NAMES, ...names.metrics.slice(0, 100).map((one) => one.name), ...names.config.slice(0, 100).map((one) => one.name)];
}

/** A name among others for the server: one with a comma or a quote in it stands in quotes. */
function asKey(name: string): string {
  const [minus, bare] = name.startsWith("-") ? ["-", name.slice(1)] : ["", name];
  return /[",\s]/.test(bare) ? `${minus}"${bare}"` : name;
}

/** The filter that a group's runs alone pass. */
function narrowed(filter: string, key: Record<string, Value>): string {
  const words = Object.entries(key).flatMap(([name, value]) => {
    if (value === null) return [`not ${quoted(name)}=*`];
    const all = name === "tag" ? String(value).split(", ") : [value]; // a run may have several
    return all.map((one) => `${quoted(name)}=${quoted(String(one))}`);
  });
  return [filter && / or /.test(filter) ? `(${filter})` : filter, ...words].filter(Boolean).join(" ");
}

function quoted(text: string): string {
  return /^[\w.+-]+$/.test(text) ? text : JSON.stringify(text);
}
