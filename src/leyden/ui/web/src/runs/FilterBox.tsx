// The filter: applied as it is typed, and where it cannot be read, the place is shown.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Fault } from "../lib/api";

const TYPING_MS = 250;

export function FilterBox({ value, example = "status=running val_loss<0.3 user=ada lr>=1e-3", fault, names, onChange }: {
  value: string;
  example?: string;
  fault: Fault | null;
  names: readonly string[];
  onChange: (value: string) => void;
}) {
  const [text, setText] = useState(value);
  const input = useRef<HTMLInputElement>(null);
  const timer = useRef(0);
  useEffect(() => {
    if (document.activeElement !== input.current) setText(value);
  }, [value]);
  useEffect(() => {
    const key = (event: KeyboardEvent): void => {
      if (event.key !== "/" || (event.target as HTMLElement).closest("input, textarea, select")) return;
      event.preventDefault();
      input.current?.focus();
      input.current?.select();
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
  const apply = (now: string): void => {
    clearTimeout(timer.current);
    onChange(now);
  };
  return (
    <div class="filter">
      <input
        ref={input}
        type="search"
        value={text}
        list="filter-names"
        spellcheck={false}
        autocomplete="off"
        aria-label="Filter"
        aria-invalid={fault !== null}
        placeholder={`Filter:  ${example}  ( / )`}
        onInput={(event) => {
          const now = event.currentTarget.value;
          setText(now);
          clearTimeout(timer.current);
          timer.current = setTimeout(() => apply(now), TYPING_MS) as unknown as number;
        }}
        onKeyDown={(event) => {
          if (event.key === "Enter") apply(text);
          if (event.key === "Escape") event.currentTarget.blur();
        }}
      />
      <datalist id="filter-names">
        {text === "" && names.map((name) => <option key={name} value={name} />)}
      </datalist>
      {fault && (
        <div class="pointed" role="alert">
          <pre>{fault.found.replace(/\n+$/, "")}</pre>
          <span class="muted">{fault.advice}</span>
        </div>
      )}
    </div>
  );
}
