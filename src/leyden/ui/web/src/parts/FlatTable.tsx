// Names and values of a configuration, searched.

import { change, useAddress } from "../lib/address";
import type { Flat } from "../lib/flat";
import { saveText, csv } from "../lib/save";

const SEARCH_FROM = 12;

export function FlatTable({ title, values, empty }: { title: string; values: Flat; empty: string }) {
  const search = useAddress().query.get("find") ?? "";
  const rows = [...values].filter(([name, value]) => `${name} ${value}`.toLowerCase().includes(search.toLowerCase()));
  return (
    <section class="panel">
      <h2>
        {title} <span class="muted num">{values.size || ""}</span>
        <span class="grow" />
        {values.size > SEARCH_FROM && <input type="search" placeholder="Search" aria-label={`Search in ${title}`} value={search} onInput={(event) => change({ find: event.currentTarget.value }, "replace")} />}
        {values.size > 0 && <button class="plain" onClick={() => saveText(`${title}.csv`, csv([["name", "value"], ...values]))}>CSV</button>}
      </h2>
      <table class="plain pairs">
        <tbody>
          {rows.map(([name, value]) => (
            <tr key={name}>
              <td><code>{name}</code></td>
              <td><code>{value}</code></td>
            </tr>
          ))}
          {!rows.length && <tr><td class="muted">{values.size ? "Nothing is called so" : empty}</td></tr>}
        </tbody>
      </table>
    </section>
  );
}
