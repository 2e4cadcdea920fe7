// Which trial is better?

import type { Sweep, Trial } from "./types";

/** 1 where little is good, -1 where much is. */
export function sign(sweep: Sweep): number {
  return sweep.metrics[0]?.endsWith(":max") ? -1 : 1;
}

/** Those with a value, the best first. */
export function bestFirst<One extends Trial>(trials: readonly One[], sweep: Sweep): One[] {
  const way = sign(sweep);
  return trials.filter((one) => one.value !== null).sort((a, b) => way * (a.value! - b.value!));
}
