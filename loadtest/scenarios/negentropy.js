// Syncs (NIP-77): a client that has half of what matches a filter asks for the rest. What the relay
// has is known from the events that the set-up published.

import exec from 'k6/execution';

import { Connection } from '../lib/client.js';
import { config } from '../lib/config.js';
import { synced } from '../lib/corpus.js';
import { metrics } from '../lib/metrics.js';
import { initial, listed } from '../lib/negentropy.js';
import { ANSWER_SECONDS } from '../lib/options.js';
import { skips } from '../lib/skip.js';

export async function negentropy(data) {
  if (skips('negentropy', data)) {
    return;
  }
  const { batch } = config.scenarios.negentropy;
  const nth = exec.scenario.iterationInTest;
  let connection;
  try {
    connection = await Connection.open(config.urls[nth % config.urls.length]);
  } catch (error) {
    metrics.neg_failed.add(true);
    return;
  }
  for (let one = 0; one < batch; one += 1) {
    await sync(connection, `n${one}`, synced[(nth * batch + one) % synced.length]);
  }
  connection.close();
}

function sync(connection, id, { filter, ids }) {
  return new Promise((done) => {
    const sent = Date.now();
    const finish = (failed) => {
      clearTimeout(timer);
      connection.onNegentropy = null;
      connection.subscriptions.delete(id);
      metrics.neg_failed.add(failed);
      done();
    };
    const timer = setTimeout(() => finish(true), ANSWER_SECONDS * 1000);
    connection.onNegentropy = (verb, answered, body, at) => {
      if (answered !== id) {
        return;
      }
      if (verb === 'NEG-ERR') {
        finish(true);
        return;
      }
      metrics.neg_ms.add(Math.max(0, at - sent));
      metrics.negentropy_done.add(1);
      if (!same(body, ids)) {
        metrics.neg_wrong.add(1);
      }
      connection.send(JSON.stringify(['NEG-CLOSE', id]));
      finish(false);
    };
    // Only so that a lost connection is noticed.
    connection.subscriptions.set(id, { lost: () => finish(true), closed: () => finish(true) });
    const had = ids.filter((_, nth) => nth % 2 === 0);
    if (!connection.send(JSON.stringify(['NEG-OPEN', id, filter, initial(had)]))) {
      finish(true);
    }
  });
}

function same(body, ids) {
  try {
    const found = new Set(listed(body));
    return found.size === ids.length && ids.every((id) => found.has(id));
  } catch (error) {
    return false;
  }
}
