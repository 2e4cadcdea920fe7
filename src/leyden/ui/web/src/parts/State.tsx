// How is the state of a run shown, everywhere the same?

const LABELS: Record<string, string> = { timed_out: "timed out" };

export function State({ state }: { state: string }) {
  return (
    <span class={`state ${state}`}>
      <i />
      {LABELS[state] ?? state}
    </span>
  );
}

/** A bar with how far it is; `aria` tells it to those who do not see it. */
export function Bar({ share, kind = "", label }: { share: number | null; kind?: string; label?: string }) {
  const width = `${Math.round(Math.min(1, Math.max(0, share ?? 0)) * 100)}%`;
  return (
    <span class={`bar ${kind}`} role="meter" aria-valuenow={Math.round((share ?? 0) * 100)} aria-label={label ?? "share"}>
      <i style={{ width }} />
    </span>
  );
}
