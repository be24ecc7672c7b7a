// The pre-signed events: read, checked and dealt out before any load.
//
// `heliograph corpus` writes one event a line, with its keys in order and the oldest first. The
// first `seeds` events are published by the set-up, so that REQs find something. The next ones of
// kinds 1, 6 and 7 go to the scenarios that measure delivery, and all after them to publish. No event
// is published twice, except as a duplicate on purpose; and no event is one that a deletion of the
// corpus names, so that the order of arrival doesn't change what the relay must answer.

import { SharedArray } from 'k6/data';

import { config } from './config.js';
import { countCases, facts, syncCases } from './facts.js';
import { PROFILES, eventsOf } from './profiles.js';
import { signer } from './signer.js';

/** Kinds whose delivery is measured: half of all events, never replaced, readable by everybody. */
export const LIVE_KINDS = [1, 6, 7];

/** How far an event may be ahead of the clock, in seconds; relays refuse what is over 900. */
const AHEAD_MAX = 600;

const LINE =
  /^\{"id":"([0-9a-f]{64})","pubkey":"([0-9a-f]{64})","created_at":(\d+),"kind":(\d+),"tags":\[/;

/** How many events of which sort this run needs. */
export const needs = needsOf();

function needsOf() {
  const live = {};
  let at = 0;
  for (const name of ['fan_out', 'slow_readers', 'reconnect_storm', 'hostile']) {
    const scenario = config.scenarios[name];
    if (scenario) {
      const each = eventsOf(scenario);
      live[name] = { at, each };
      at += each * scenario.vus;
    }
  }
  if (config.scenarios.hostile) {
    // Events that nobody publishes with their right signature.
    live.forged = { at, each: 200 };
    at += 200;
  }
  const publish = config.scenarios.publish;
  return {
    seeds: PROFILES[config.profile].seeds,
    live,
    liveEvents: at,
    // A signer makes what isn't there.
    publish: publish && !(signer.nostr && config.profile === 'soak') ? eventsOf(publish) + 200 : 0,
  };
}

/** Events that a corpus for this run has to have, with room for its shares of kinds. */
export function corpusEvents() {
  return Math.ceil((needs.seeds + 2.5 * needs.liveEvents + 1.1 * needs.publish) / 100) * 100 + 200;
}

function fail(message) {
  throw new Error(
    `loadtest: ${config.corpus}: ${message}\n` +
      'Make a new one, with another seed for each run against the same relay:\n' +
      `  heliograph corpus --seed $RANDOM --events ${corpusEvents()} ` +
      `--time-start -86400 --time-span 86000 -o ${config.corpus}`,
  );
}

let dealt = null;

function deal() {
  if (dealt) {
    return dealt;
  }
  const started = Date.now();
  const lines = read();
  const heads = lines.map(head);
  checkAge(heads);
  const deleted = new Set();
  lines.forEach((line, nth) => {
    if (heads[nth].kind === 5) {
      JSON.parse(line).tags.filter((tag) => tag[0] === 'e').forEach((tag) => deleted.add(tag[1]));
    }
  });
  const seeds = lines.slice(0, needs.seeds);
  const seen = new Set();
  const live = [];
  const publish = [];
  for (let nth = needs.seeds; nth < lines.length; nth += 1) {
    const { id, kind } = heads[nth];
    if (seen.has(id)) {
      fail(`line ${nth + 1} repeats an event`);
    }
    seen.add(id);
    if (deleted.has(id)) {
      continue;
    }
    if (live.length >= needs.liveEvents) {
      publish.push(lines[nth]);
    } else if (LIVE_KINDS.includes(kind)) {
      live.push(lines[nth]);
    }
  }
  if (seeds.length < needs.seeds || live.length < needs.liveEvents || publish.length < needs.publish) {
    fail(`${lines.length} events are too few for profile ${config.profile} at these rates`);
  }
  const events = seeds.map((line) => JSON.parse(line));
  const rest = heads.slice(needs.seeds);
  const before = rest.reduce((least, { at }) => Math.min(least, at), Number.MAX_SAFE_INTEGER) - 1;
  const since = heads.reduce((least, { at }) => Math.min(least, at), Number.MAX_SAFE_INTEGER);
  const newest = heads.reduce((most, { at }) => Math.max(most, at), 0);
  dealt = {
    seeds,
    live,
    publish: publish.slice(0, Math.max(needs.publish, signer.nostr ? 1 : 0)),
    count: countCases(events, deleted, since, before),
    sync: syncCases(events, deleted, since, before),
    ...facts(events.filter((event) => !deleted.has(event.id))),
    about: [
      { events: lines.length, oldest: since, newest, windows: windows(live), read_ms: Date.now() - started },
    ],
  };
  return dealt;
}

// From when to when the events of each scenario are dated.
function windows(live) {
  const spans = {};
  for (const [name, { at, each }] of Object.entries(needs.live)) {
    const vus = name in config.scenarios ? config.scenarios[name].vus : 1;
    const times = live.slice(at, at + each * vus).map((line, nth) => head(line, nth).at);
    spans[name] = {
      since: times.reduce((least, time) => Math.min(least, time), Number.MAX_SAFE_INTEGER),
      until: times.reduce((most, time) => Math.max(most, time), 0),
    };
  }
  return spans;
}

function read() {
  let text;
  try {
    text = open(config.corpus);
  } catch (error) {
    fail(`can't be read (${error.message || error})`);
  }
  const lines = text.split('\n');
  if (lines[lines.length - 1] === '') {
    lines.pop();
  }
  return lines;
}

function head(line, nth) {
  const found = LINE.exec(line);
  if (!found || !line.endsWith('"}')) {
    fail(`line ${nth + 1} is no event of a corpus`);
  }
  return { id: found[1], at: Number(found[3]), kind: Number(found[4]) };
}

function checkAge(heads) {
  if (heads.length === 0) {
    fail('is empty');
  }
  const now = Math.floor(Date.now() / 1000);
  const newest = heads.reduce((most, { at }) => Math.max(most, at), 0);
  const days = (now - newest) / 86_400;
  if (days > config.corpusMaxAgeDays) {
    fail(
      `is stale: its newest event is ${days.toFixed(1)} days old, CORPUS_MAX_AGE is ` +
        `${config.corpusMaxAgeDays}. Relays refuse old events, or treat them unlike those of today.`,
    );
  }
  if (newest > now + AHEAD_MAX) {
    fail(`is of the future: its newest event is ${newest - now} s ahead, and relays refuse those.`);
  }
}

const shared = (name) => new SharedArray(name, () => deal()[name]);

/** Lines of the events that the set-up publishes. */
export const seeds = shared('seeds');
/** Lines of the events whose delivery is measured; `needs.live` says which are whose. */
export const live = shared('live');
/** Lines of the events that publish takes, each once. */
export const published = shared('publish');
/** COUNT with its right answer: `{filters, count}`. */
export const counted = shared('count');
/** What a sync must find: `{filter, ids}`. */
export const synced = shared('sync');
/** Keys of authors, ids of notes and so on among the seeds, the popular first. */
export const authors = shared('authors');
export const ids = shared('ids');
export const notes = shared('notes');
export const mentioned = shared('mentioned');
export const topics = shared('topics');
export const addresses = shared('addresses');
export const about = shared('about');

dealt = null;

/** The id in an event's line of the corpus. */
export const idOf = (line) => line.slice(7, 71);

/** The line with another signature than its own. */
export function forge(line) {
  const at = line.length - 3;
  const digit = line[at] === '0' ? '1' : '0';
  return `${line.slice(0, at)}${digit}${line.slice(at + 1)}`;
}

/** The span of time of all of a scenario's events, as conditions of a filter. */
export const windowOf = (name) => about[0].windows[name];

/** The lines of one of a scenario's virtual users. */
export function liveOf(name, user) {
  const { at, each } = needs.live[name];
  const lines = [];
  for (let nth = 0; nth < each; nth += 1) {
    lines.push(live[at + user * each + nth]);
  }
  return lines;
}
