// What is said where there is nothing to show: an error, nothing yet, a command to try.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Fault } from "../lib/api";
import { Link } from "./Link";

/** An error: what was asked, what was found, what to do. */
export function Wrong({ fault, retry }: { fault: Fault; retry?: () => void }) {
  return (
    <div class="wrong" role="alert">
      <strong>{sentence(fault.asked)}</strong>
      <span>{fault.found}</span>
      <span class="muted"><Prose text={fault.advice} /></span>
      {fault.status === 403 && <a href={`/login?to=${encodeURIComponent(location.pathname + location.search)}`}>Log in</a>}
      {fault.status === 404 && (location.pathname.startsWith("/sweeps") ? <Link href="/sweeps">All sweeps</Link> : <Link href="/runs">All runs</Link>)}
      {retry && <button onClick={retry}>Try again</button>}
    </div>
  );
}

function sentence(text: string): string {
  return text ? text[0]!.toUpperCase() + text.slice(1) : "";
}

/** Nothing to show, and the commands that would change that. */
export function Empty({ title, commands = [], children, small }: {
  title: string;
  small?: boolean; // in a panel
  commands?: [string, string][];
  children?: ComponentChildren;
}) {
  return (
    <div class={`empty${small ? " small" : ""}`}>
      <h2>{title}</h2>
      {children}
      {commands.map(([command, what]) => (
        <p key={command}>
          <Command text={command} /> <span class="muted">{what}</span>
        </p>
      ))}
    </div>
  );
}

/** What stands between backticks as code. */
export function Prose({ text }: { text: string }) {
  return <>{text.split("`").map((part, index) => (index % 2 ? <code key={index}>{part}</code> : part))}</>;
}

const COPIED_MS = 1500;

/** A command to copy. */
export function Command({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  const copy = (): void => {
    void navigator.clipboard?.writeText(text).then(() => {
      setCopied(true);
      setTimeout(() => setCopied(false), COPIED_MS);
    });
  };
  return <button class="command" title={copied ? "Copied" : "Click to copy"} onClick={copy}>{text}{copied && <span class="muted"> copied</span>}</button>;
}
