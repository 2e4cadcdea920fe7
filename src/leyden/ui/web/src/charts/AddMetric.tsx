// Any other metric in a chart too: which?

import { useRef, useState } from "preact/hooks";
import { useAway } from "../lib/away";

const SHOWN = 100;

export function AddMetric({ title, metrics, own, added, onToggle }: {
  title: string;
  metrics: readonly string[];
  own: readonly string[]; // always drawn here
  added: readonly string[];
  onToggle: (name: string) => void;
}) {
  const [open, setOpen] = useState(false);
  const [search, setSearch] = useState("");
  const box = useRef<HTMLSpanElement>(null);
  useAway(box, open, () => setOpen(false));
  const rest = !open ? [] : metrics.filter((name) => !added.includes(name) && !own.includes(name) && name.toLowerCase().includes(search.toLowerCase()));
  return (
    <span ref={box}>
      <button class={`plain${added.length ? " on" : ""}`} title="Draw other metrics here too" aria-label={`Add a metric to ${title}`} aria-expanded={open} onClick={() => setOpen(!open)}>+</button>
      {open && (
        <div class="popover adding" role="dialog" aria-label={`Metrics in ${title}`}>
          <input type="search" autofocus placeholder="Which metric?" aria-label="Search metrics to add" value={search} onInput={(event) => setSearch(event.currentTarget.value)} />
          <ul>
            {added.map((name) => <li key={name}><button class="plain on name" title="Take it out" onClick={() => onToggle(name)}>× {name}</button></li>)}
            {rest.slice(0, SHOWN).map((name) => <li key={name}><button class="plain name" onClick={() => onToggle(name)}>+ {name}</button></li>)}
            {rest.length > SHOWN && <li class="muted">and {rest.length - SHOWN} more: search</li>}
            {!rest.length && !added.length && <li class="muted">No other metric{search && " is called so"}</li>}
          </ul>
        </div>
      )}
    </span>
  );
}
