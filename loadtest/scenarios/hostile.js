// Others publish and read, first alone, as a baseline; then attackers come and do what they do (the
// vectors below). Nothing forged may be accepted, and the legitimate ones must be served as before.

import exec from 'k6/execution';

import { Connection, sleep } from '../lib/client.js';
import { config } from '../lib/config.js';
import { forge, idOf, liveOf, seeds } from '../lib/corpus.js';
import { Feed, excess } from '../lib/feed.js';
import { metrics } from '../lib/metrics.js';
import { leadSeconds } from '../lib/options.js';

/** The share of the time that is the baseline, before the attackers come. */
const BASELINE = 1 / 3;

/** How much above the baseline the legitimate ones may be, as a share. */
const ABOVE = 0.2;

/** How long an attacker waits before its next connection, in milliseconds. */
const AGAIN_MS = 250;

/** What a relay takes in one message unless it says something else, in bytes. */
const MESSAGE_BYTES = 131_072;

export async function hostile(data) {
  const { vus } = config.scenarios.hostile;
  const user = exec.scenario.iterationInTest;
  metrics.users_begun.add(1);
  await (user < vus ? legitimate(user) : attack(user - vus, data.limitation || {}));
  metrics.users_finished.add(1);
}

async function legitimate(user) {
  const { rate, subscribers } = config.scenarios.hostile;
  const [baseline, beside] = [[], []];
  const feed = new Feed({
    lines: liveOf('hostile', user),
    publishUrl: config.publishUrl,
    readUrls: config.readUrls,
    deliver: (ms, nth) => {
      const attacked = feed.sent[nth] >= attackAt();
      (attacked ? metrics.hostile_legit_ms : metrics.hostile_baseline_ms).add(ms);
      (attacked ? beside : baseline).push(ms);
    },
    duplicate: () => metrics.hostile_duplicate.add(1),
  });
  await feed.join(subscribers);
  await sleep(beginAt() - Date.now());
  await feed.publish(rate, (endAt() - Date.now()) / 1000);
  await feed.settle();
  metrics.hostile_excess_ms.add(excess(baseline, beside, ABOVE));
  metrics.hostile_unanswered.add(feed.unacked());
  metrics.hostile_missing.add(feed.missing());
  if (baseline.length > 0) {
    metrics.hostile_done.add(beside.length);
  }
  feed.leave();
}

// The same times for all users: when the baseline begins, when it ends, and when all is over.
const beginAt = () => exec.scenario.startTime + leadSeconds(config.scenarios.hostile) * 1000;
const attackAt = () => beginAt() + config.scenarios.hostile.seconds * BASELINE * 1000;
const endAt = () => beginAt() + config.scenarios.hostile.seconds * 1000;

async function attack(nth, limitation) {
  const context = { limitation, forged: liveOf('forged', 0), lines: seeds };
  await sleep(attackAt() - Date.now());
  for (let round = 0; Date.now() < endAt(); round += 1) {
    const vector = VECTORS[(nth + round) % VECTORS.length];
    await once(config.urls[(nth + round) % config.urls.length], vector, context, round);
    await sleep(AGAIN_MS);
  }
}

async function once(url, vector, context, round) {
  let connection;
  try {
    connection = await Connection.open(url, 2_000);
  } catch (error) {
    // The relay keeps it out: then there was no attack.
    return;
  }
  await vector(connection, context, round);
  metrics.hostile_attacks.add(1);
  connection.close();
}

// Whatever must not be accepted: counts an `OK true`.
const forbidden = (accepted) => {
  if (accepted) {
    metrics.hostile_accepted.add(1);
  }
};

/** Signatures that don't hold, each on an event of its own. */
async function badSignatures(connection, { forged }, round) {
  for (let nth = 0; nth < 8; nth += 1) {
    const line = forged[(round * 8 + nth) % forged.length];
    connection.publish(forge(line), idOf(line), forbidden);
  }
  await sleep(300);
}

/** An id that isn't the hash of what it stands on. */
async function badIds(connection, { forged }, round) {
  const line = forged[round % forged.length];
  const changed = line.replace(/"created_at":(\d)/, (_, digit) => `"created_at":${digit === '1' ? 2 : 1}`);
  connection.publish(changed, idOf(line), forbidden);
  await sleep(300);
}

/** One byte more than the relay takes, in an event that would be valid but for its signature. */
async function oversized(connection, { limitation, forged }) {
  const most = limitation.max_message_length || MESSAGE_BYTES;
  const line = forged[0];
  const padded = line.replace('"content":"', `"content":"${'x'.repeat(most + 1)}`);
  connection.publish(padded, idOf(line), forbidden);
  await Promise.race([connection.ended, sleep(500)]);
}

/** Frames that are no messages. */
async function junk(connection) {
  const frames = ['', '{', '[]', 'null', '["EVENT"]', '["REQ"]', '["NOPE","x"]', '\u0000\u0001', '[1,2,3]', '"x"'];
  frames.forEach((frame) => connection.send(frame));
  await sleep(300);
}

/** Lists in lists in lists. */
async function deep(connection) {
  connection.send(`["REQ","deep",${'['.repeat(20_000)}${']'.repeat(20_000)}]`);
  connection.send(`["EVENT",{"id":"${'0'.repeat(64)}","tags":${'['.repeat(10_000)}${']'.repeat(10_000)}}]`);
  await sleep(300);
}

/** More filters than anybody needs. */
async function manyFilters(connection) {
  const filters = Array.from({ length: 1_000 }, (_, kind) => ({ kinds: [kind], limit: 500 }));
  connection.request('filters', filters, {});
  await sleep(300);
}

/** More subscriptions than the relay says that it holds. */
async function manySubscriptions(connection, { limitation }) {
  const most = limitation.max_subscriptions || 100;
  for (let nth = 0; nth <= most + 10; nth += 1) {
    connection.request(`many${nth}`, [{ limit: 1 }], {});
  }
  await sleep(500);
}

/** Subscriptions that are replaced before they are answered. */
async function churn(connection) {
  for (let nth = 0; nth < 200; nth += 1) {
    connection.send(`["REQ","churn",{"kinds":[1,6,7],"limit":20,"since":${nth}}]`);
    if (nth % 50 === 49) {
      await sleep(100);
    }
  }
  connection.send('["CLOSE","churn"]');
}

/** The same events again and again. */
async function replay(connection, { lines }) {
  for (let nth = 0; nth < Math.min(50, lines.length); nth += 1) {
    connection.publish(lines[nth], idOf(lines[nth]), () => {});
  }
  await sleep(300);
}

const VECTORS = [
  badSignatures, badIds, oversized, junk, deep, manyFilters, manySubscriptions, churn, replay,
];
