// Which columns, in which order, which of them pinned to the left?

import { useState } from "preact/hooks";
import type { Names } from "../lib/types";
import { asColumn, ATTRIBUTE_NAMES } from "./columns";

const SHOWN = 200;

interface Props {
  names: Names | null;
  shown: readonly string[];
  pinned: ReadonlySet<string>;
  onColumns: (names: string[]) => void;
  onPin: (name: string) => void;
  onReset: () => void;
}

export function ColumnPicker({ names, shown, pinned, onColumns, onPin, onReset }: Props) {
  const [search, setSearch] = useState("");
  const all = [
    ...ATTRIBUTE_NAMES,
    ...(names?.metrics ?? []).map((one) => asColumn(one.name)),
    ...(names?.config ?? []).map((one) => `config.${one.name}`),
  ];
  const rest = all.filter((name) => !shown.includes(name) && name.toLowerCase().includes(search.toLowerCase()));
  const move = (index: number, by: number): void => {
    const now = [...shown];
    const [one] = now.splice(index, 1);
    now.splice(index + by, 0, one!);
    onColumns(now);
  };
  return (
    <div class="popover columns" role="dialog" aria-label="Columns">
      <h3>
        Shown <span class="grow" />
        <button class="plain" onClick={onReset}>Reset</button>
      </h3>
      <ol>
        {shown.map((name, index) => (
          <li key={name}>
            <span class="name" title={name}>{name}</span>
            <button class="plain" title="Further left" disabled={index === 0} onClick={() => move(index, -1)}>↑</button>
            <button class="plain" title="Further right" disabled={index === shown.length - 1} onClick={() => move(index, 1)}>↓</button>
            <button class={`plain${pinned.has(name) ? " on" : ""}`} title="Keep it in view" aria-pressed={pinned.has(name)} onClick={() => onPin(name)}>pin</button>
            <button class="plain" title="Hide it" aria-label={`hide ${name}`} onClick={() => onColumns(shown.filter((one) => one !== name))}>×</button>
          </li>
        ))}
      </ol>
      <input type="search" placeholder="Add: a metric, config.…, an attribute" aria-label="Search columns" value={search} onInput={(event) => setSearch(event.currentTarget.value)} />
      <ul>
        {rest.slice(0, SHOWN).map((name) => (
          <li key={name}>
            <button class="plain name" onClick={() => onColumns([...shown, name])}>+ {name}</button>
          </li>
        ))}
        {rest.length > SHOWN && <li class="muted">and {rest.length - SHOWN} more: search</li>}
      </ul>
    </div>
  );
}
