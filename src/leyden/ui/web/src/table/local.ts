// How is a table filtered and sorted that is here as a whole?
//
// A filter is words that all must hold: `state=paused lr>1e-3 note~memory`; a word without an operator stands anywhere.

import { Fault } from "../lib/api";
import type { CsvCell } from "../lib/save";
import type { Column } from "./Table";

export type Cell = number | string | boolean | null;

export interface LocalColumn<Row> extends Column<Row> {
  value: (row: Row) => Cell; // to filter and to sort by
  plain?: (row: Row) => CsvCell; // in a CSV, where that is another
}

type Test<Row> = (row: Row) => boolean;

const WORD = /(?:"[^"]*"|[^\s"])+/g;
const TERM = /^("[^"]*"|[^\s"<>=!~]+)(<=|>=|!=|=|<|>|~)(.*)$/;

/** What a filter lets pass; a Fault that points at what it cannot be. */
export function test<Row>(text: string, columns: readonly LocalColumn<Row>[]): Test<Row> | Fault {
  const tests: Test<Row>[] = [];
  for (const { 0: word, index } of text.matchAll(WORD)) {
    const term = TERM.exec(word);
    if (!term) {
      const wanted = bare(word).toLowerCase();
      tests.push((row) => columns.some((one) => lower(one.value(row)).includes(wanted)));
      continue;
    }
    const name = bare(term[1]!);
    const column = columns.find((one) => one.name === name) ?? columns.find((one) => one.label === name);
    if (!column) return pointed(text, index, `there is no ${JSON.stringify(name)} here`, `There are ${columns.map((one) => one.name).slice(0, 20).join(", ")}.`);
    if (!term[3]) return pointed(text, index + word.length, "a value is missing", `Write e.g. ${name}${term[2]}1.`);
    tests.push((row) => holds(column.value(row), term[2]!, bare(term[3]!)));
  }
  return (row) => tests.every((one) => one(row));
}

function bare(word: string): string {
  return word.replaceAll('"', "");
}

function lower(value: Cell): string {
  return value === null ? "" : String(value).toLowerCase();
}

function pointed(text: string, at: number, found: string, advice: string): Fault {
  return new Fault("a filter", `${text}\n${" ".repeat(at)}^ ${found}`, advice, 400);
}

function holds(value: Cell, operator: string, wanted: string): boolean {
  if (operator === "~") return lower(value).includes(wanted.toLowerCase());
  const [left, right] = [typeof value === "number" ? value : NaN, Number(wanted)];
  const numbers = !Number.isNaN(left) && !Number.isNaN(right);
  const same = numbers ? left === right : lower(value) === wanted.toLowerCase();
  if (operator === "=") return same;
  if (operator === "!=") return !same;
  if (!numbers) return false;
  return operator === "<" ? left < right : operator === ">" ? left > right : operator === "<=" ? left <= right : left >= right;
}

/** In the order of those keys, "-" for the greatest first; what has no value comes last either way. */
export function ordered<Row>(rows: readonly Row[], keys: readonly string[], columns: readonly LocalColumn<Row>[]): Row[] {
  const by = keys.flatMap((key) => {
    const column = columns.find((one) => one.name === key.replace(/^-/, ""));
    return column ? [{ value: column.value, sign: key.startsWith("-") ? -1 : 1 }] : [];
  });
  const compare = (a: Row, b: Row): number => {
    for (const { value, sign } of by) {
      const found = before(value(a), value(b), sign);
      if (found) return found;
    }
    return 0;
  };
  return by.length ? [...rows].sort(compare) : [...rows];
}

function before(a: Cell, b: Cell, sign: number): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b), "en", { numeric: true });
}
