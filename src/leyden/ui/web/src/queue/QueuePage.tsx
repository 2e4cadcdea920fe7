import type { Pulse } from "../app";

export function QueuePage({ pulse }: { pulse: Pulse }) {
  return <p>{pulse.beat}</p>;
}
