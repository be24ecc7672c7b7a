// A few readers stop reading while others go on. First the healthy ones alone, as a baseline, then
// the slow ones ask for much and read nothing; what the healthy ones see must stay as it was.
//
// k6/websockets reads every socket whatever the script does. The older k6/ws hands each message to
// its handler before it reads the next one, so a handler that sleeps stops the socket for real: its
// receive buffer fills, then the relay's send buffer, then the relay's own queue.

import exec from 'k6/execution';
import { sleep as block } from 'k6';
import ws from 'k6/ws';

import { sleep } from '../lib/client.js';
import { config } from '../lib/config.js';
import { liveOf } from '../lib/corpus.js';
import { Feed, excess } from '../lib/feed.js';
import { metrics } from '../lib/metrics.js';
import { leadSeconds } from '../lib/options.js';

/** The share of the time that is the baseline, before the slow ones come. */
const BASELINE = 1 / 3;

/** How long a slow one reads on behind its stall, to see whether the relay closed it, in milliseconds. */
const READ_ON_MS = 3_000;

/** How much above the baseline the healthy ones may be, as a share. */
const ABOVE = 0.1;

export async function slow_readers() {
  const { vus } = config.scenarios.slow_readers;
  const user = exec.scenario.iterationInTest;
  metrics.users_begun.add(1);
  await (user < vus ? healthy(user) : slow(user));
  metrics.users_finished.add(1);
}

async function healthy(user) {
  const { rate, subscribers } = config.scenarios.slow_readers;
  const [baseline, beside] = [[], []];
  const feed = new Feed({
    lines: liveOf('slow_readers', user),
    publishUrl: config.publishUrl,
    readUrls: config.readUrls,
    deliver: (ms, nth) => {
      // The slow ones come by the same clock.
      const stalled = feed.sent[nth] >= stallAt();
      (stalled ? metrics.slow_healthy_ms : metrics.slow_baseline_ms).add(ms);
      (stalled ? beside : baseline).push(ms);
    },
    duplicate: () => metrics.slow_duplicate.add(1),
  });
  await feed.join(subscribers);
  await sleep(beginAt() - Date.now());
  await feed.publish(rate, (endAt() - Date.now()) / 1000);
  await feed.settle();
  metrics.slow_excess_ms.add(excess(baseline, beside, ABOVE));
  metrics.slow_unacked.add(feed.unacked());
  metrics.slow_missing.add(feed.missing());
  if (baseline.length > 0) {
    metrics.slow_readers_done.add(beside.length);
  }
  feed.leave();
}

// The same times for all users: when the baseline begins, when it ends, and when all is over.
const beginAt = () => exec.scenario.startTime + leadSeconds(config.scenarios.slow_readers) * 1000;
const stallAt = () => beginAt() + config.scenarios.slow_readers.seconds * BASELINE * 1000;
const endAt = () => beginAt() + config.scenarios.slow_readers.seconds * 1000;

async function slow(user) {
  const { requests } = config.scenarios.slow_readers;
  await sleep(stallAt() - Date.now());
  const url = config.readUrls[user % config.readUrls.length];
  let closing = false;
  ws.connect(url, {}, (socket) => {
    let stalled = false;
    socket.on('open', () => {
      for (let nth = 0; nth < requests; nth += 1) {
        socket.send(JSON.stringify(['REQ', `slow${nth}`, { limit: 500 }]));
      }
    });
    socket.on('message', (text) => {
      if (!stalled && text.startsWith('["EVENT"')) {
        stalled = true;
        metrics.slow_stalled.add(1);
        block(Math.max(0, (endAt() - Date.now()) / 1000));
        // Only who reads again comes to see that the relay closed the connection meanwhile.
        socket.setTimeout(() => {
          closing = true;
          socket.close();
        }, READ_ON_MS);
      }
    });
    const closed = () => {
      if (!closing) {
        closing = true;
        metrics.slow_closed.add(1);
        socket.close();
      }
    };
    socket.on('close', closed);
    socket.on('error', closed);
  });
}
