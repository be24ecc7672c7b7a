// Sessions begin at a fixed rate, each a connection that sends its events by the clock, whatever was
// answered so far (open model). One of a hundred events has a wrong signature and must be refused;
// one of twenty is sent again after its OK and must be called a duplicate. Which ones goes by their
// number, so that every run has both.

import exec from 'k6/execution';

import { Connection, sleep } from '../lib/client.js';
import { config } from '../lib/config.js';
import { forge, idOf, notes, published } from '../lib/corpus.js';
import { metrics } from '../lib/metrics.js';
import { ANSWER_SECONDS, sessionOf } from '../lib/options.js';
import { signer } from '../lib/signer.js';

/** Of so many events one is forged, and one sent twice. */
const FORGED_ONE_IN = 100;
const TWICE_ONE_IN = 20;

/** Which of them is forged: one of the first session's. */
const FORGED = 7;

/** Kinds that are never replaced, so that a copy can only be a duplicate. */
const REGULAR = [1, 6, 7, 9735];

/** Authors of what is signed here. */
const AUTHORS = 1_000;

const kindOf = (line) => Number(/^.{147}","created_at":\d+,"kind":(\d+)/.exec(line)[1]);

export async function publish() {
  const { stages, knee } = config.scenarios.publish;
  const { size, pace } = sessionOf(config.scenarios.publish);
  const first = exec.scenario.iterationInTest * size;
  const tags = knee ? { step: String(stepNow(stages)) } : undefined;
  let connection;
  try {
    connection = await Connection.open(config.urls[exec.scenario.iterationInTest % config.urls.length]);
  } catch (error) {
    // All that it would have sent has failed.
    for (let nth = 0; nth < size; nth += 1) {
      metrics.publish_failed.add(true, tags);
    }
    return;
  }
  await new Session(connection, { first, size, pace, tags }).run();
  connection.close();
}

// Which step of the profile is on, by the time since the scenario began.
function stepNow(stages) {
  let left = (Date.now() - exec.scenario.startTime) / 1000;
  for (let nth = 0; nth < stages.length; nth += 1) {
    left -= stages[nth].seconds;
    if (left < 0) {
      return nth;
    }
  }
  return stages.length - 1;
}

// The corpus first; past its end the signer makes notes and reactions, if there is one.
function lineOf(nth) {
  if (nth < published.length) {
    return published[nth];
  }
  if (!signer.nostr) {
    return null;
  }
  const key = signer.nostr.key(config.seed, nth % AUTHORS);
  const now = Math.floor(Date.now() / 1000);
  if (nth % 3 === 2 && notes.length > 0) {
    return signer.nostr.sign(key, now, 7, [['e', notes[nth % notes.length]]], `+${nth}`);
  }
  return signer.nostr.sign(key, now, 1, [['t', 'loadtest']], `note ${nth} of a load test. `.repeat(1 + (nth % 20)));
}

class Session {
  constructor(connection, { first, size, pace, tags }) {
    this.connection = connection;
    this.first = first;
    this.size = size;
    this.pace = pace;
    this.tags = tags;
    this.twice = 0;
    this.waiting = 0;
    this.idle = null;
  }

  async run() {
    const began = Date.now();
    for (let nth = 0; nth < this.size; nth += 1) {
      const due = began + (nth * 1000) / this.pace;
      await sleep(due - Date.now());
      metrics.generator_lag_ms.add(Math.max(0, Date.now() - due));
      const line = lineOf(this.first + nth);
      if (line === null) {
        metrics.publish_unsent.add(1);
      } else {
        this.sendOne(line, this.first + nth);
      }
    }
    await this.settled();
    if (this.waiting > 0) {
      metrics.publish_unanswered.add(this.waiting, this.tags);
    }
  }

  sendOne(line, number) {
    const id = idOf(line);
    const regular = REGULAR.includes(kindOf(line));
    this.twice += number % TWICE_ONE_IN === 0 ? 1 : 0;
    if (number % FORGED_ONE_IN === FORGED) {
      this.send(forge(line), id, (accepted) => {
        (accepted ? metrics.publish_invalid_accepted : metrics.publish_invalid_refused).add(1, this.tags);
      });
      return;
    }
    const again = regular && this.twice > 0;
    this.twice -= again ? 1 : 0;
    const sent = Date.now();
    this.send(line, id, (accepted, message, at) => {
      const taken = regular ? accepted && !message.startsWith('duplicate:') : accepted || superseded(message);
      metrics.publish_failed.add(!taken, this.tags);
      if (message.startsWith('rate-limited')) {
        metrics.rate_limited.add(1);
      }
      if (taken) {
        metrics.publish_ok_ms.add(Math.max(0, at - sent), this.tags);
        metrics.publish_done.add(1, this.tags);
        if (again) {
          this.sendAgain(line, id);
        }
      }
    });
  }

  sendAgain(line, id) {
    this.send(line, id, (accepted, message) => {
      metrics.publish_duplicates.add(1, this.tags);
      if (!accepted || !message.startsWith('duplicate:')) {
        metrics.publish_duplicate_wrong.add(1, this.tags);
      }
    });
  }

  send(line, id, answer) {
    this.waiting += 1;
    this.connection.publish(line, id, (accepted, message, at) => {
      if (accepted === null) {
        // A lost connection answers nothing; it counts as unanswered.
        this.wake();
        return;
      }
      this.waiting -= 1;
      answer(accepted, message, at);
      if (this.waiting === 0) {
        this.wake();
      }
    });
  }

  wake() {
    if (this.idle) {
      this.idle();
    }
  }

  settled() {
    if (this.waiting === 0) {
      return Promise.resolve();
    }
    return new Promise((done) => {
      const timer = setTimeout(done, ANSWER_SECONDS * 1000);
      this.idle = () => {
        if (this.waiting === 0 || !this.connection.open) {
          clearTimeout(timer);
          done();
        }
      };
      this.wake();
    });
  }
}

// Events of one author by several connections may arrive in another order than they were made: the
// older version of a list is then refused, and rightly so. Relays have several words for it.
function superseded(message) {
  return message.startsWith('duplicate:') || message.startsWith('replaced:');
}
