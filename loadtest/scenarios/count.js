// COUNTs (NIP-45) whose answer is known from the events that the set-up published.

import exec from 'k6/execution';

import { Connection } from '../lib/client.js';
import { config } from '../lib/config.js';
import { counted } from '../lib/corpus.js';
import { metrics } from '../lib/metrics.js';
import { ANSWER_SECONDS } from '../lib/options.js';
import { skips } from '../lib/skip.js';

export async function count(data) {
  if (skips('count', data)) {
    return;
  }
  const { batch } = config.scenarios.count;
  const nth = exec.scenario.iterationInTest;
  let connection;
  try {
    connection = await Connection.open(config.urls[nth % config.urls.length]);
  } catch (error) {
    metrics.count_failed.add(true);
    return;
  }
  const questions = Array.from({ length: batch }, (_, one) =>
    ask(connection, `c${one}`, counted[(nth * batch + one) % counted.length]),
  );
  await Promise.all(questions);
  connection.close();
}

function ask(connection, id, question) {
  return new Promise((done) => {
    const sent = Date.now();
    let open = true;
    const finish = (failed) => {
      if (open) {
        open = false;
        clearTimeout(timer);
        metrics.count_failed.add(failed);
        done();
      }
    };
    const timer = setTimeout(() => finish(true), ANSWER_SECONDS * 1000);
    connection.request(id, question.filters, {
      count: (body, at) => {
        metrics.count_ms.add(Math.max(0, at - sent));
        metrics.count_done.add(1);
        if (body.count !== question.count && !body.approximate) {
          metrics.count_wrong.add(1);
        }
        finish(false);
      },
      closed: () => finish(true),
      lost: () => finish(true),
    }, 'COUNT');
  });
}
