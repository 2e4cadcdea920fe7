// A table of what is here as a whole, sweeps or trials, with its filter, order, keys and CSV.

import type { ComponentChildren } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { change, joined, list, useAddress } from "../lib/address";
import { Fault } from "../lib/api";
import { plural } from "../lib/format";
import { csv, saveText } from "../lib/save";
import { Empty } from "../parts/messages";
import { FilterBox } from "../runs/FilterBox";
import { readWidths, sorted, writtenWidths } from "./address";
import { selectedNow, toggleSelected, useCursor, useKeys } from "./keys";
import { type LocalColumn, ordered, test } from "./local";
import { type Named, Table } from "./Table";

interface Props<Row extends Named> {
  word: string; // what a row is
  example: string; // of a filter
  items: readonly Row[];
  columns: readonly LocalColumn<Row>[];
  pinned: string;
  order: string; // until somebody chooses another
  onOpen: (row: Row) => void;
  /** Which are compared while none is selected; without it none can be selected. */
  best?: (shown: readonly Row[]) => Row[];
  onCompare?: (rows: readonly Row[]) => void;
  file: string;
  children?: ComponentChildren;
}

export function LocalTable<Row extends Named>({ word, example, items, columns, pinned, order, onOpen, best, onCompare, file, children }: Props<Row>) {
  const { query } = useAddress();
  const filter = query.get("q") ?? "";
  const sort = query.has("sort") ? list(query, "sort") : [order];
  const widths = readWidths(list(query, "w"));
  const sized = columns.map((one) => ({ ...one, width: widths.get(one.name) ?? one.width }));
  const [cursor, setCursor, cursorNow] = useCursor();
  const passes = useMemo(() => test(filter, columns), [filter, columns]);
  const shown = useMemo(
    () => ordered(passes instanceof Fault ? items : items.filter(passes), sort, columns),
    [items, passes, sort.join(), columns],
  );
  const rows = { total: shown.length, at: (index: number) => shown[index] };
  const others = useMemo(() => best?.(shown) ?? [], [shown]);
  const compare = (): void => {
    const now = new Set(selectedNow());
    const wanted = now.size ? items.filter((one) => now.has(one.id)) : others;
    if (wanted.length > 1) onCompare?.(wanted);
  };
  useKeys({ rows, cursorNow, setCursor, open: onOpen, ...(best ? { select: toggleSelected, compare } : {}), clear: () => change({ sel: null }, "replace") });
  useEffect(() => setCursor(-1), [filter, sort.join()]);
  const selected = new Set(best ? list(query, "sel") : []);
  return (
    <div class="local">
      <div class="toolbar">
        <FilterBox
          value={filter} example={example} fault={passes instanceof Fault ? passes : null} names={columns.map((one) => one.name)}
          onChange={(q) => change({ q }, "replace")}
        />
        {children}
        {best && (
          <button class="primary" disabled={(selected.size || others.length) < 2} title="The selected, or the best of what is shown (c)" onClick={compare}>
            Compare {selected.size || `best ${others.length || ""}`}
          </button>
        )}
        <button title={`All of these ${word}s`} onClick={() => saveText(file, asCsv(shown, columns))}>CSV</button>
        <span class="grow" />
        <span class="muted num" role="status">{plural(shown.length, word)}{shown.length < items.length && ` of ${items.length.toLocaleString("en")}`}</span>
      </div>
      {shown.length > 0 || !filter ? (
        <Table
          label={`${word[0]!.toUpperCase()}${word.slice(1)}s`} rows={rows} columns={sized} pinned={new Set([pinned])} sort={sort} cursor={cursor} selected={selected}
          onSort={(name, add) => change({ sort: joined(sorted(sort, name, add)) })}
          onWidth={(name, width) => change({ w: writtenWidths(widths, name, width) }, "replace")}
          onCursor={setCursor} onSelect={best ? toggleSelected : null}
        />
      ) : (
        <Empty title={`No ${word} is like that`} small><button onClick={() => change({ q: null })}>{`Show all ${word}s`}</button></Empty>
      )}
    </div>
  );
}

function asCsv<Row>(rows: readonly Row[], columns: readonly LocalColumn<Row>[]): string {
  return csv([columns.map((one) => one.name), ...rows.map((row) => columns.map((one) => (one.plain ?? one.value)(row)))]);
}
