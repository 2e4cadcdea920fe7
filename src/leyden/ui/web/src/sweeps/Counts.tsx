// How many trials of a sweep are how? A bar in parts, and the numbers.

import { type Sweep, STATES } from "./types";

export function Counts({ sweep, wide }: { sweep: Sweep; wide?: boolean }) {
  const known = STATES.flatMap((state) => (sweep.counts[state] ? [[state, sweep.counts[state]] as const] : []));
  const made = known.reduce((sum, [, count]) => sum + count, 0);
  const all = Math.max(made, sweep.asked ?? 0);
  const text = known.map(([state, count]) => `${count.toLocaleString("en")} ${state}`).join(", ") || "none yet";
  return (
    <span class={`counts${wide ? " wide" : ""}`} title={`${text}${sweep.asked === null ? "" : `, of ${sweep.asked.toLocaleString("en")}`}`}>
      <span class="stack" role="img" aria-label={`trials: ${text}`}>
        {known.map(([state, count]) => <i key={state} class={state} style={{ width: `${(100 * count) / all}%` }} />)}
      </span>
      {known.map(([state, count]) => (
        <span key={state} class={`count num ${state}`}><i />{count.toLocaleString("en")}{wide && ` ${state}`}</span>
      ))}
    </span>
  );
}
