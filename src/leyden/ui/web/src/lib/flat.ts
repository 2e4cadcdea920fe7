// A nested configuration as dotted names, and back to text.

import type { Config, Value } from "./types";
import { number } from "./format";

export type Flat = Map<string, string>;

export function flat(config: Config | null | undefined): Flat {
  const found: Flat = new Map();
  const walk = (value: Config[string], name: string): void => {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      const entries = Object.entries(value);
      if (!entries.length && name) found.set(name, "{}");
      for (const [key, one] of entries) walk(one, name ? `${name}.${key}` : key);
    } else found.set(name, said(value));
  };
  if (config) walk(config, "");
  return found;
}

export function said(value: Config[string] | undefined): string {
  if (value === undefined) return "";
  if (typeof value === "string") return value;
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : number(value, 7);
  return JSON.stringify(value as Value);
}
