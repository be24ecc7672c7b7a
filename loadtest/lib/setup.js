// Before any load: who the relay is, what it can do, whether it may be loaded at all, and the events
// that REQs will find.

import exec from 'k6/execution';
import http from 'k6/http';

import { config } from './config.js';
import { Connection, eventId, sleep } from './client.js';
import { about, counted, idOf, live, published, seeds, synced } from './corpus.js';
import { residentBytes } from './memory.js';
import { signer } from './signer.js';
import { impossible } from './thresholds.js';

/** Seeds that wait for their OK at a time. */
const WINDOW = 100;

/** How long a seed may take to be readable everywhere, in milliseconds. */
const READABLE_MS = 20_000;

/** Which NIP a scenario needs. */
const NEEDS = { auth: 42, count: 45, negentropy: 77 };

export async function setup() {
  const started = new Date().toISOString();
  const relay = information();
  const skipped = skip(relay);
  const data = {
    started,
    generator: signer.nostr ? signer.nostr.version() : config.k6Version,
    relay: { name: relay.name || null, software: relay.software || null, version: relay.version || null },
    limitation: relay.limitation || {},
    skipped,
    corpus: about[0],
  };
  for (const [name, reason] of Object.entries(skipped)) {
    console.warn(`${name} is skipped: ${reason}`);
  }
  checkAge(data.limitation);
  checkCases(skipped);
  checkMetrics();
  await checkUnknown();
  await seed();
  await readable();
  data.loaded = new Date().toISOString();
  return data;
}

function stop(message) {
  exec.test.abort(`loadtest: ${message}`);
}

function information() {
  const url = config.publishUrl.replace(/^ws/, 'http');
  const answer = http.get(url, { headers: { Accept: 'application/nostr+json' }, timeout: '10s' });
  try {
    const body = JSON.parse(answer.body);
    if (body && typeof body === 'object') {
      return body;
    }
  } catch (error) {
    // Not every relay has one. Whether there is a relay at all shows with the first connection.
  }
  console.warn(`${config.publishUrl} has no information document (NIP-11)`);
  return {};
}

function skip(relay) {
  const nips = [...(relay.supported_nips || []), ...config.nips];
  const skipped = {};
  for (const name of Object.keys(config.scenarios)) {
    const nip = NEEDS[name];
    if (nip && !nips.includes(nip)) {
      skipped[name] = `the relay's information document doesn't name NIP-${nip}`;
    } else if (impossible(name)) {
      skipped[name] = impossible(name);
    }
  }
  return skipped;
}

function checkAge(limitation) {
  const oldest = Math.floor(Date.now() / 1000) - about[0].oldest;
  const most = limitation.created_at_lower_limit;
  // Some relays say from when on, most how many seconds back.
  if (most > 0 && most < 1_000_000_000 && oldest > most) {
    stop(`the corpus goes ${oldest} s back, and the relay takes ${most} s: make one with a later --time-start`);
  }
}

// Questions without an answer would be none.
function checkCases(skipped) {
  for (const [name, cases] of [['count', counted], ['negentropy', synced]]) {
    if (name in config.scenarios && !(name in skipped) && cases.length === 0) {
      stop(`${name}: the corpus has no question whose answer is sure: make one with more events, or another --seed`);
    }
  }
}

function checkMetrics() {
  if (config.metricsUrl && residentBytes() === null) {
    stop(`METRICS_URL=${config.metricsUrl}: no process_resident_memory_bytes there: name the relay's page of metrics`);
  }
}

async function open(url) {
  try {
    return await Connection.open(url);
  } catch (error) {
    return stop(`can't connect to ${url}: ${error.message}`);
  }
}

// A relay that has the events already would call every one a duplicate and deliver none.
async function checkUnknown() {
  const connection = await open(config.publishUrl);
  // In a distributed run another instance may have begun; the last events it has not sent yet.
  const alone = !exec.test.options.executionSegment;
  const sample = [live, published]
    .filter((lines) => lines.length > 0)
    .flatMap((lines) => [...(alone ? [0] : []), lines.length >> 1, lines.length - 1].map((nth) => idOf(lines[nth])));
  const found = await stored(connection, sample);
  connection.close();
  if (found.length > 0) {
    stop('the relay has events of this corpus already: make another one with another --seed');
  }
}

/** Ids of these that the relay has; a relay that doesn't answer has none. */
function stored(connection, ids) {
  if (ids.length === 0) {
    return [];
  }
  return new Promise((done) => {
    const found = [];
    const finish = () => {
      clearTimeout(timer);
      connection.unsubscribe('known');
      done(found);
    };
    const timer = setTimeout(finish, 5_000);
    connection.request('known', [{ ids }], {
      event: (text) => found.push(eventId(text)),
      eose: finish,
      closed: finish,
      lost: finish,
    });
  });
}

async function seed() {
  const connection = await open(config.publishUrl);
  const refused = new Map();
  let next = 0;
  let waiting = 0;
  let answered = 0;
  await new Promise((done) => {
    const timer = setTimeout(() => stop(`only ${answered} of ${seeds.length} first events were answered`), 240_000);
    const step = () => {
      while (waiting < WINDOW && next < seeds.length) {
        const line = seeds[next];
        next += 1;
        waiting += 1;
        connection.publish(line, idOf(line), (accepted, message) => {
          waiting -= 1;
          answered += 1;
          note(refused, accepted, message);
          if (answered === seeds.length) {
            clearTimeout(timer);
            done();
          } else {
            step();
          }
        });
      }
    };
    if (seeds.length === 0) {
      clearTimeout(timer);
      done();
    }
    step();
  });
  connection.close();
  for (const [reason, count] of refused) {
    if (reason.startsWith('rate-limited')) {
      stop(`${count} first events were refused, "${reason}": switch the relay's limits off for load tests`);
    }
    stop(`${count} of ${seeds.length} first events were refused: "${reason}"`);
  }
}

function note(refused, accepted, message) {
  // Another run may have left newer versions, and relays say so in words of their own.
  const known = accepted || /^(duplicate|replaced):/.test(message) || message.startsWith('blocked: deleted');
  if (!known) {
    refused.set(message, (refused.get(message) || 0) + 1);
  }
}

// Other gateways may lag behind the one that took the events.
async function readable() {
  const last = seeds.length > 0 ? idOf(lastRegular()) : null;
  for (const url of last ? new Set(config.urls) : []) {
    const connection = await open(url);
    const until = Date.now() + READABLE_MS;
    while ((await stored(connection, [last])).length === 0) {
      if (Date.now() > until) {
        stop(`an event that was published through ${config.publishUrl} isn't found through ${url}`);
      }
      await sleep(200);
    }
    connection.close();
  }
}

function lastRegular() {
  for (let nth = seeds.length - 1; nth > 0; nth -= 1) {
    if (/^.{147}","created_at":\d+,"kind":7,/.test(seeds[nth])) {
      return seeds[nth];
    }
  }
  return seeds[0];
}
