// A scenario that the relay, or this k6, can't do: nothing of it runs, and the summary says why.

import { metrics } from './metrics.js';

/**
 * Whether the set-up skipped the scenario. Which scenarios there are is settled before k6 can ask the
 * relay, so its `count>0` threshold stands: it is met here by one sample, and the summary leaves the
 * scenario's numbers out.
 */
export function skips(name, data) {
  if (!data.skipped[name]) {
    return false;
  }
  metrics[`${name}_done`].add(1);
  return true;
}
