import type { Pulse } from "../app";

export function RunsPage({ pulse }: { pulse: Pulse }) {
  return <p>{pulse.beat}</p>;
}
