import type { Pulse } from "../app";

export function RunPage({ id, pulse }: { id: string; pulse: Pulse }) {
  return <p>{id} {pulse.beat}</p>;
}
