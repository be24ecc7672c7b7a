// Sessions begin at a fixed rate, each a connection that sends its REQs by the clock as a client does
// that was just opened. Every event that comes back is held against the filters that were asked.

import exec from 'k6/execution';

import { Connection, sleep } from '../lib/client.js';
import { config } from '../lib/config.js';
import { matches } from '../lib/filter.js';
import { metrics } from '../lib/metrics.js';
import { ANSWER_SECONDS, SESSION_REQUESTS } from '../lib/options.js';
import { random } from '../lib/random.js';
import { nextRequest } from '../lib/requests.js';

export async function req_mix() {
  const { session } = config.scenarios.req_mix;
  const nth = exec.scenario.iterationInTest;
  const next = random(config.seed * 7_000_003 + nth);
  let connection;
  try {
    connection = await Connection.open(config.urls[nth % config.urls.length]);
  } catch (error) {
    for (let request = 0; request < SESSION_REQUESTS; request += 1) {
      metrics.req_failed.add(true);
    }
    return;
  }
  const began = Date.now();
  const answers = [];
  for (let request = 0; request < SESSION_REQUESTS; request += 1) {
    const due = began + (request * session * 1000) / SESSION_REQUESTS;
    await sleep(due - Date.now());
    metrics.generator_lag_ms.add(Math.max(0, Date.now() - due));
    answers.push(ask(connection, `r${request}`, nextRequest(next)));
  }
  await Promise.all(answers);
  connection.close();
}

// Sends one REQ; resolves when it was answered, refused or given up.
function ask(connection, id, { template, filters }) {
  return new Promise((done) => {
    const sent = Date.now();
    let first = true;
    let stored = true;
    let events = 0;
    const limit = filters.reduce((sum, filter) => sum + (filter.limit ?? Infinity), 0);
    const finish = (failed) => {
      if (stored) {
        stored = false;
        clearTimeout(timer);
        metrics.req_failed.add(failed);
        done();
      }
    };
    const timer = setTimeout(() => {
      finish(true);
      connection.unsubscribe(id);
    }, ANSWER_SECONDS * 1000);
    connection.request(id, filters, {
      event: (text, at) => {
        if (first && stored) {
          metrics.req_first_event_ms.add(Math.max(0, at - sent));
          first = false;
        }
        events += stored ? 1 : 0;
        metrics.req_events.add(1);
        if (wrong(text, filters) || events > limit) {
          metrics.req_wrong_events.add(1);
        }
      },
      eose: (at) => {
        if (stored) {
          metrics.req_eose_ms.add(Math.max(0, at - sent));
          metrics.req_mix_done.add(1);
        }
        finish(false);
        if (template.lifetime === 'eose') {
          connection.unsubscribe(id);
        }
      },
      closed: (message) => {
        if (message.startsWith('rate-limited')) {
          metrics.rate_limited.add(1);
        }
        // Private messages are for those who authenticated; saying so is an answer.
        const rightly = template.private && /^(auth-required|restricted):/.test(message);
        metrics.req_refused.add(1);
        if (!rightly) {
          explain(`closed, "${message}"`, filters);
        }
        finish(!rightly);
      },
      lost: () => {
        if (stored) {
          explain('without its connection', filters);
        }
        finish(true);
      },
    });
  });
}

// A user says once why a REQ failed: a relay that fails them all would fill the terminal.
let explained = false;

function explain(why, filters) {
  if (!explained) {
    explained = true;
    console.warn(`a REQ was ${why}: ${JSON.stringify(filters).slice(0, 400)}`);
  }
}

function wrong(text, filters) {
  try {
    const event = JSON.parse(text)[2];
    return !filters.some((filter) => matches(filter, event));
  } catch (error) {
    return true;
  }
}
