// Where are we? All state that somebody may want to come back to, or send to a colleague, is in the address.

import { useEffect, useState } from "preact/hooks";

export interface Address {
  path: string;
  query: URLSearchParams;
}

type Changes = Record<string, string | number | boolean | null | undefined>;

const listeners = new Set<() => void>();
let current = read();

function read(): Address {
  return { path: location.pathname, query: new URLSearchParams(location.search) };
}

function tell(): void {
  current = read();
  listeners.forEach((listener) => listener());
}

addEventListener("popstate", tell);

/** The address, and again whenever it changes. */
export function useAddress(): Address {
  const [address, setAddress] = useState(current);
  useEffect(() => {
    const listener = (): void => setAddress(current);
    listeners.add(listener);
    listener();
    return () => void listeners.delete(listener);
  }, []);
  return address;
}

/** Go to another page. */
export function go(href: string): void {
  history.pushState(null, "", href);
  scrollTo(0, 0);
  tell();
}

/** This page with some of the query changed; null, false and "" take a word out. */
export function hrefWith(changes: Changes): string {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "" || value === false) query.delete(name);
    else query.set(name, value === true ? "1" : String(value));
  }
  const text = readable(query);
  return location.pathname + (text ? `?${text}` : "");
}

/** Go there. Typing replaces, a choice is a step back's target. */
export function change(changes: Changes, how: "push" | "replace" = "push"): void {
  const href = hrefWith(changes);
  if (href === location.pathname + location.search) return;
  if (how === "push") history.pushState(null, "", href);
  else history.replaceState(null, "", href);
  tell();
}

/** Of a comma list in the query. */
export function list(query: URLSearchParams, name: string): string[] {
  return (query.get(name) ?? "").split(",").map(decodeComma).filter(Boolean);
}

/** A list as the query holds it: names may hold commas. */
export function joined(names: readonly string[]): string {
  return names.map((name) => name.replaceAll("%", "%25").replaceAll(",", "%2C")).join(",");
}

function decodeComma(name: string): string {
  return name.replaceAll("%2C", ",").replaceAll("%25", "%");
}

/** Characters that an address may hold are left as they are: a person reads it. */
function readable(query: URLSearchParams): string {
  return query.toString().replaceAll("%2C", ",").replaceAll("%2F", "/").replaceAll("%3A", ":").replaceAll("%3D", "=");
}
