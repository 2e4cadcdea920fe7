import type { Pulse } from "../app";

export function ComparePage({ pulse }: { pulse: Pulse }) {
  return <p>{pulse.beat}</p>;
}
