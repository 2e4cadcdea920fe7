import type { Pulse } from "../app";

export function ClusterPage({ pulse }: { pulse: Pulse }) {
  return <p>{pulse.beat}</p>;
}
