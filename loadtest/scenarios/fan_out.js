// One publisher in each user, and many subscribers to all of them.

import exec from 'k6/execution';

import { config } from '../lib/config.js';
import { liveOf, windowOf } from '../lib/corpus.js';
import { Feed } from '../lib/feed.js';
import { metrics } from '../lib/metrics.js';

export async function fan_out() {
  const { rate, seconds, subscribers } = config.scenarios.fan_out;
  metrics.users_begun.add(1);
  const feed = new Feed({
    lines: liveOf('fan_out', exec.scenario.iterationInTest),
    window: windowOf('fan_out'),
    publishUrl: config.publishUrl,
    readUrls: config.readUrls,
    deliver: (ms) => metrics.delivery_ms.add(ms),
    duplicate: () => metrics.delivery_duplicate.add(1),
  });
  await feed.join(subscribers);
  await feed.publish(rate, seconds);
  await feed.settle();
  metrics.delivery_unacked.add(feed.unacked());
  metrics.delivery_missing.add(feed.missing());
  metrics.fan_out_done.add(feed.delivered());
  metrics.users_finished.add(1);
  feed.leave();
}
