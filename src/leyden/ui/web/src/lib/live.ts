// How do pages hear of changes at once, without a connection for each tab that nobody looks at?
//
// A browser opens six connections to a server at most: a hidden tab lets go of its own after a few seconds.

import { useEffect, useRef, useState } from "preact/hooks";

export type Liveness = "live" | "connecting" | "lost";

const HIDDEN_MS = 5_000;
const SHORTEST_MS = 400; // before it is tried again, twice as long each time
const LONGEST_MS = 5_000;

const waiting = new Set<() => void>();

/** Once, when the server is heard of again. Gives what takes it back. */
export function onceLive(work: () => void): () => void {
  waiting.add(work);
  return () => void waiting.delete(work);
}

function tellWaiting(): void {
  const all = [...waiting];
  waiting.clear();
  all.forEach((work) => work());
}

interface Told {
  message: (data: unknown) => void;
  opened?: () => void; // again after each break: what came meanwhile is to be asked for
}

/** Server-sent events from `href`, as JSON; null listens to nothing. */
export function useStream(href: string | null, told: Told): Liveness {
  const [state, setState] = useState<Liveness>("connecting");
  const latest = useRef(told);
  latest.current = told;
  useEffect(() => {
    if (!href) return undefined;
    return listen(href, setState, (data) => latest.current.message(data), () => latest.current.opened?.());
  }, [href]);
  return state;
}

function listen(
  href: string, say: (state: Liveness) => void, message: (data: unknown) => void, opened: () => void,
): () => void {
  let source: EventSource | null = null;
  let timer = 0;
  let wait = SHORTEST_MS;

  const close = (): void => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  const open = (): void => {
    close();
    const mine = (source = new EventSource(href));
    mine.onopen = () => {
      wait = SHORTEST_MS;
      say("live");
      opened();
      tellWaiting();
    };
    mine.onmessage = (event: MessageEvent<string>) => message(JSON.parse(event.data));
    mine.onerror = () => {
      // Ours is the only timer: browsers give up for good when an answer is no stream.
      say("lost");
      close();
      timer = setTimeout(open, wait) as unknown as number;
      wait = Math.min(LONGEST_MS, wait * 2);
    };
  };
  const seen = (): void => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(close, HIDDEN_MS) as unknown as number;
    else if (!source) open();
  };
  document.addEventListener("visibilitychange", seen);
  open();
  return () => {
    document.removeEventListener("visibilitychange", seen);
    close();
  };
}

/** A number that grows when `beat` does, but at most once in `ms`: many who look must not cost the server much. */
export function useSlowBeat(beat: number, ms: number): number {
  const [slow, setSlow] = useState(0);
  const [later] = useState(() => throttled(() => setSlow((before) => before + 1), ms));
  useEffect(() => {
    if (beat) later();
  }, [beat]);
  return slow;
}

/** At most once in `ms`, the last call never lost. */
export function throttled(work: () => void, ms: number): () => void {
  let last = -Infinity;
  let timer = 0;
  return () => {
    if (timer) return;
    const due = Math.max(0, last + ms - performance.now());
    timer = setTimeout(() => {
      timer = 0;
      last = performance.now();
      work();
    }, due) as unknown as number;
  };
}
