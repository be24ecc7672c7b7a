// node --test loadtest/lib.test.mjs: what of the suite needs no k6.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { countCases, facts, syncCases } from './lib/facts.js';
import { matches } from './lib/filter.js';
import { initial, listed } from './lib/negentropy.js';
import { popular, random, spread } from './lib/random.js';
import { markdown, text } from './lib/report.js';

const hex = (digit) => digit.repeat(64);
const event = (over) => ({
  id: hex('1'), pubkey: hex('a'), created_at: 100, kind: 1, tags: [['e', hex('9')], ['T', 'x'], ['d']], ...over,
});

function check(filter, expected) {
  assert.equal(matches(filter, event()), expected, JSON.stringify(filter));
}

test('conditions are all met, values one of them', () => {
  check({}, true);
  check({ kinds: [7, 1], authors: [hex('a')] }, true);
  check({ kinds: [1], authors: [hex('b')] }, false);
  check({ ids: [hex('1')] }, true);
  check({ ids: [] }, false);
});

test('since and until are inclusive', () => {
  check({ since: 100, until: 100 }, true);
  check({ since: 101 }, false);
  check({ until: 99 }, false);
});

test('tags are compared by the case of their name and by their first value', () => {
  check({ '#e': [hex('9')] }, true);
  check({ '#t': ['x'] }, false);
  check({ '#T': ['x'] }, true);
  check({ '#d': [''] }, false);
});

test('a sync opens with one range of ids and reads the answer', () => {
  // Version, bound "infinity" without prefix, mode 2, one id.
  assert.equal(initial([hex('a')]), `6100000201${hex('a')}`);
  assert.deepEqual(listed(`6100000202${hex('a')}${hex('b')}`), [hex('a'), hex('b')]);
  // A bound with a timestamp (delta 129, two bytes) and a prefix of two bytes; skip; then ids.
  assert.deepEqual(listed(`61${'8101'}02abcd00${'0000'}0201${hex('c')}`), [hex('c')]);
  assert.throws(() => listed('60'), /version/);
  assert.throws(() => listed(`6100000202${hex('a')}`), /cut/);
  assert.throws(() => listed(`61000001${'00'.repeat(16)}`), /mode 1/);
});

test('long lists have their length in two bytes', () => {
  const ids = Array.from({ length: 300 }, () => hex('d'));
  assert.ok(initial(ids).startsWith('61000002822c'));
  assert.equal(listed(initial(ids)).length, 300);
});

test('counts leave out what a deletion names and what comes later', () => {
  const events = [1, 2, 3].map((nth) => event({ id: hex(String(nth)), created_at: nth }));
  const all = countCases(events, new Set(), 0, 3);
  assert.ok(all.some(({ filters, count }) => filters[0].authors && count === 3));
  assert.ok(countCases(events, new Set(), 0, 2).every(({ count }) => count <= 2));
  const sure = countCases(events, new Set([hex('3')]), 0, 3);
  assert.deepEqual(sure.map(({ count }) => count).filter((count) => count === 3), []);
  assert.deepEqual(syncCases(events, new Set(), 0, 3)[0].ids.length, 3);
  assert.deepEqual(syncCases(events, new Set([hex('3')]), 0, 3), []);
});

test('the popular come first', () => {
  const lists = facts([event(), event({ id: hex('2') }), event({ id: hex('3'), pubkey: hex('b') })]);
  assert.deepEqual(lists.authors, [hex('a'), hex('b')]);
  assert.deepEqual(lists.ids, [hex('3'), hex('2'), hex('1')]);
});

test('random numbers follow the seed and stay in their range', () => {
  const [one, other] = [random(5), random(5)];
  for (let nth = 0; nth < 1_000; nth += 1) {
    const value = one();
    assert.equal(value, other());
    assert.ok(value >= 0 && value < 1);
    const at = popular(one, 10);
    assert.equal(popular(other, 10), at);
    assert.ok(at >= 0 && at < 10);
    assert.equal(popular(one, 1), 0);
    other();
    assert.ok(spread(one, 20, 150) >= 1);
    other();
    other();
  }
  assert.notEqual(random(5)(), random(6)());
});

test('a report names what failed, what was skipped and why it is not valid', () => {
  const result = {
    profile: 'smoke', targets: ['ws://a'], relay: { name: 'R' }, generator: 'k6', generator_cpu: null, seconds: 3,
    valid: false, warnings: ['Too busy.'], skipped: { count: 'no NIP-45' },
    scenarios: {
      publish: {
        metrics: { publish_ok_ms: { count: 2, p50: 1, p90: 2, p99: 3, max: 3 }, publish_failed: { rate: 0.5, count: 2 } },
        thresholds: [{ metric: 'publish_failed', expression: 'rate<0.001', passed: false }],
      },
    },
  };
  for (const made of [markdown(result), text(result)]) {
    assert.match(made, /publish_failed/);
    assert.match(made, /FAILED/);
    assert.match(made, /no NIP-45/);
    assert.match(made, /Too busy\./);
  }
});
