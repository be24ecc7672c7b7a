// What REQs can ask for, drawn from the seeds, and questions whose answer is known.

import { matches } from './filter.js';

/** Kinds that everybody may read and nothing replaces. */
const KNOWN_KINDS = [1, 6, 7];

/** Entries of each list at most: more would only be drawn more rarely. */
const MOST = 2_000;

/** Ids that one sync finds at most: one frame of the protocol holds them. */
const SYNCED_MOST = 200;

function byPopularity(values) {
  const counts = new Map();
  for (const value of values) {
    counts.set(value, (counts.get(value) || 0) + 1);
  }
  return [...counts.entries()]
    .sort((one, other) => other[1] - one[1] || (one[0] < other[0] ? -1 : 1))
    .slice(0, MOST)
    .map(([value]) => value);
}

const hex = (value) => /^[0-9a-f]{64}$/.test(value);

const tagged = (events, name) =>
  events.flatMap((event) => event.tags.filter((tag) => tag[0] === name && tag[1]).map((tag) => tag[1]));

/** The lists that REQs are filled from, the popular first. */
export function facts(events) {
  return {
    authors: byPopularity(events.map((event) => event.pubkey)),
    ids: events.map((event) => event.id).reverse().slice(0, MOST),
    notes: byPopularity([
      ...tagged(events, 'e').filter(hex),
      ...events.filter((event) => event.kind === 1).map((event) => event.id),
    ]),
    mentioned: byPopularity([...tagged(events, 'p').filter(hex), ...events.map((event) => event.pubkey)]),
    topics: byPopularity([...tagged(events, 't'), 'nostr']),
    addresses: events
      .filter((event) => event.kind >= 30_000 && event.kind < 40_000)
      .map((event) => [event.kind, event.pubkey, (event.tags.find((tag) => tag[0] === 'd') || [])[1] || ''])
      .slice(0, MOST),
  };
}

/**
 * COUNTs and their answers. What is published later is newer than `until`, so the answers hold; they
 * leave out what a deletion names (`deleted`), since that may come or not.
 */
export function countCases(events, deleted, since, until) {
  const cases = [];
  const known = knownOf(events, until);
  // Only events that can match are looked at: those of one author, or that name one note.
  const add = (events, ...filters) => {
    const found = events.filter((event) => filters.some((filter) => matches(filter, event)));
    if (!found.some((event) => deleted.has(event.id))) {
      cases.push({ filters, count: found.length });
    }
  };
  for (const [note, naming] of mostNumerous(known, (event) => [...new Set(tagged([event], 'e'))])) {
    add(naming, { kinds: [7], '#e': [note], since, until });
    add(naming, { kinds: [1, 6, 7], '#e': [note], since, until });
  }
  for (const [author, written] of mostNumerous(known, (event) => [event.pubkey])) {
    add(written, { kinds: [1], authors: [author], since, until });
    add(
      written,
      { kinds: [1, 7], authors: [author], since, until },
      { kinds: [6, 7], '#p': [author], authors: [author], since, until },
    );
  }
  const kept = known.filter((event) => !deleted.has(event.id));
  add(kept, { ids: kept.slice(0, 20).map((event) => event.id) });
  return cases;
}

/** Events by what `keys` says of them, the forty keys with most events: `[key, events]`. */
function mostNumerous(events, keys) {
  const groups = new Map();
  for (const event of events) {
    for (const key of keys(event).filter(hex)) {
      if (!groups.has(key)) {
        groups.set(key, []);
      }
      groups.get(key).push(event);
    }
  }
  return [...groups.entries()].sort((one, other) => other[1].length - one[1].length).slice(0, 40);
}

/** Filters and the ids that a sync must find with them. */
export function syncCases(events, deleted, since, until) {
  const cases = [];
  const known = knownOf(events, until);
  const authors = byPopularity(known.map((event) => event.pubkey));
  for (let first = 0; first < Math.min(authors.length, 100); first += 5) {
    const filter = { kinds: KNOWN_KINDS, authors: authors.slice(first, first + 5), since, until };
    const found = known.filter((event) => matches(filter, event));
    const sure = !found.some((event) => deleted.has(event.id));
    if (sure && found.length > 0 && found.length <= SYNCED_MOST) {
      cases.push({ filter, ids: found.map((event) => event.id) });
    }
  }
  return cases;
}

const knownOf = (events, until) =>
  events.filter((event) => KNOWN_KINDS.includes(event.kind) && event.created_at <= until);
