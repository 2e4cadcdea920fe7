// What is said where there is nothing to show: an error, nothing yet, a command to try.

import type { ComponentChildren } from "preact";
import type { Fault } from "../lib/api";

/** An error: what was asked, what was found, what to do. */
export function Wrong({ fault, retry }: { fault: Fault; retry?: () => void }) {
  return (
    <div class="wrong" role="alert">
      <strong>{sentence(fault.asked)}</strong>
      <span>{fault.found}</span>
      <span class="muted">{fault.advice}</span>
      {fault.status === 403 && <a href="/login">Log in</a>}
      {retry && <button onClick={retry}>Try again</button>}
    </div>
  );
}

function sentence(text: string): string {
  return text ? text[0]!.toUpperCase() + text.slice(1) : "";
}

/** Nothing to show, and the commands that would change that. */
export function Empty({ title, commands = [], children }: {
  title: string;
  commands?: [string, string][];
  children?: ComponentChildren;
}) {
  return (
    <div class="empty">
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

/** A command to copy. */
export function Command({ text }: { text: string }) {
  return (
    <code class="command" title="Click to copy" onClick={() => void navigator.clipboard?.writeText(text)}>
      {text}
    </code>
  );
}
