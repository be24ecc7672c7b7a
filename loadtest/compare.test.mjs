// node --test loadtest/compare.test.mjs

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('compare.mjs', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'compare-'));
after(() => rmSync(directory, { recursive: true }));

function result(change = () => {}) {
  const made = {
    format: 1,
    generator: 'k6 v1.8.1',
    profile: 'load',
    commit: 'abc',
    machine: 'm',
    config_hash: null,
    seconds: 100,
    valid: true,
    warnings: [],
    skipped: {},
    scenarios: {
      publish: {
        metrics: {
          publish_ok_ms: { count: 1000, p50: 20, p90: 30, p99: 50, max: 80 },
          publish_failed: { rate: 0.001, count: 1000 },
          publish_unanswered: { count: 0 },
          publish_duplicates: { count: 50 },
          publish_done: { count: 1000 },
        },
        thresholds: [],
      },
      fan_out: {
        metrics: {
          delivery_ms: { count: 10, p50: 1, p90: 1, p99: 1, max: 1 },
          delivery_missing: { count: 2 },
        },
        thresholds: [],
      },
    },
  };
  change(made);
  return made;
}

const publish = (made) => made.scenarios.publish.metrics;

function run(old, fresh, ...options) {
  const files = [old, fresh].map((content, nth) => {
    const path = join(directory, `${nth}.json`);
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
    return path;
  });
  return spawnSync(process.execPath, [PROGRAM, ...files, ...options], { encoding: 'utf8' });
}

function check(change, code, expected, ...options) {
  const done = run(result(), result(change), ...options);
  assert.equal(done.status, code, done.stdout + done.stderr);
  assert.match(done.stdout + done.stderr, expected);
}

test('equal results are no regression', () => check(() => {}, 0, /Nothing is worse by more than 10 %/));

test('a higher p99 is a regression', () =>
  check((made) => (publish(made).publish_ok_ms.p99 = 56), 1, /publish_ok_ms \| p99 ms \| 50 \| 56 \| \+12\.0 % \| \*\*worse/));

test('a higher p50 is a regression', () =>
  check((made) => (publish(made).publish_ok_ms.p50 = 23), 1, /p50 ms \| 20 \| 23 \| \+15\.0 % \| \*\*worse/));

test('ten per cent more are none', () => check((made) => (publish(made).publish_ok_ms.p99 = 55), 0, /Nothing/));

test('a lower latency is none', () => check((made) => (publish(made).publish_ok_ms.p99 = 5), 0, /-90\.0 %/));

test('two milliseconds are not told apart', () =>
  check((made) => (made.scenarios.fan_out.metrics.delivery_ms.p99 = 3), 0, /Nothing/));

test('latencies that are gone are a regression', () =>
  check((made) => (publish(made).publish_ok_ms = { count: 0, p50: 0, p90: 0, p99: 0, max: 0 }), 1, /no sample/));

test('less work a second is a regression', () =>
  check((made) => (publish(made).publish_done.count = 890), 1, /publish_done \| a second \| 10 \| 8\.9 \| -11\.0 %/));

test('the same work in more time is a regression', () => check((made) => (made.seconds = 120), 1, /publish_done/));

test('a greater share of failures is a regression', () =>
  check((made) => (publish(made).publish_failed.rate = 0.0012), 1, /publish_failed \| share/));

test('one more missing event is a regression', () =>
  check((made) => (made.scenarios.fan_out.metrics.delivery_missing.count = 3), 1, /delivery_missing \| count \| 2 \| 3/));

test('the first unanswered event is a regression', () =>
  check((made) => (publish(made).publish_unanswered.count = 1), 1, /publish_unanswered \| count \| 0 \| 1/));

test('duplicates that were sent on purpose are not compared', () =>
  check((made) => (publish(made).publish_duplicates.count = 500), 0, /Nothing/));

test('a scenario that no longer runs is a regression', () =>
  check((made) => {
    delete made.scenarios.fan_out;
    made.skipped.fan_out = 'no such thing';
  }, 1, /fan_out .* no such thing/));

test('a metric that is no longer measured is a regression', () =>
  check((made) => delete publish(made).publish_unanswered, 1, /not measured/));

test('more memory is a regression, and its slope is left to its threshold', () => {
  const watched = (bytes, slope) => (made) => {
    made.scenarios.generator = {
      metrics: {
        relay_rss_bytes: { value: bytes },
        relay_rss_percent_per_hour: { value: slope },
        generator_lag_ms: { count: 9, p50: bytes, p90: bytes, p99: bytes, max: bytes },
      },
      thresholds: [],
    };
  };
  assert.equal(run(result(watched(1_000, 0)), result(watched(1_100, 0.9))).status, 0);
  assert.equal(run(result(watched(1_000, 0)), result(watched(1_101, 0))).status, 1);
  assert.equal(run(result(watched(1_000, 0)), result()).status, 0);
});

test('another limit can be asked for', () => {
  check((made) => (publish(made).publish_ok_ms.p99 = 70), 0, /by more than 50 %/, '--most', '50');
  check((made) => (publish(made).publish_ok_ms.p99 = 53), 1, /by more than 5 %/, '--most', '5');
});

test('other machines are named', () => check((made) => (made.machine = 'n'), 0, /The machines differ: m and n/));

test('other formats, profiles, generators and invalid results are not compared', () => {
  check((made) => (made.format = 2), 2, /the new result isn't of format 1/);
  check((made) => (made.profile = 'smoke'), 2, /the profiles differ: load and smoke/);
  check((made) => (made.generator = 'heliograph-bench'), 2, /the generators differ/);
  check((made) => {
    made.valid = false;
    made.warnings = ['The generator was busy.'];
  }, 2, /the new result isn't valid: The generator was busy\./);
  check((made) => (made.scenarios = {}), 2, /no scenario/);
});

test('what is no number is not compared', () => {
  check((made) => (publish(made).publish_ok_ms.p99 = null), 2, /the new result: publish\.publish_ok_ms: p99 isn't a number/);
  check((made) => delete publish(made).publish_ok_ms.p99, 2, /p99 isn't a number/);
  check((made) => (publish(made).publish_failed.rate = null), 2, /publish_failed: rate isn't a number/);
  check((made) => (publish(made).publish_unanswered.count = '0'), 2, /publish_unanswered: count isn't a number/);
  check((made) => (publish(made).publish_unanswered = {}), 2, /publish_unanswered: any value isn't a number/);
  check((made) => (made.seconds = null), 2, /seconds isn't a number/);
  const done = run(result((made) => (publish(made).publish_ok_ms.p50 = null)), result());
  assert.equal(done.status, 2);
  assert.match(done.stderr, /the old result: publish\.publish_ok_ms: p50 isn't a number/);
});

test('a metric that became another sort is a regression', () =>
  check((made) => (publish(made).publish_ok_ms = { count: 1000 }), 1, /publish_ok_ms .* not measured/));

test('where the old result has no sample there is no latency to compare with', () => {
  const empty = result((made) => (publish(made).publish_ok_ms = { count: 0, p50: 0, p90: 0, p99: 0, max: 0 }));
  const done = run(empty, result());
  assert.equal(done.status, 0, done.stdout);
  assert.doesNotMatch(done.stdout, /publish_ok_ms/);
});

test('other rates and lengths are not compared', () => {
  check((made) => (made.rate_factor = 2), 2, /the rates differ: rate_factor null and 2/);
  check((made) => (made.scenario_seconds = 3), 2, /the lengths of the scenarios differ/);
  const twice = (made) => {
    made.rate_factor = 2;
    made.scenario_seconds = null;
  };
  assert.equal(run(result(twice), result(twice)).status, 0);
});

test('what is no result is refused', () => {
  const done = run(result(), '{');
  assert.equal(done.status, 2);
  assert.match(done.stderr, /can't be read as a result/);
});

test('wrong arguments are refused', () => {
  for (const args of [[], ['a.json'], ['a.json', 'b.json', '--most', 'x'], ['a.json', 'b.json', '--less']]) {
    const done = spawnSync(process.execPath, [PROGRAM, ...args], { encoding: 'utf8' });
    assert.equal(done.status, 2, args.join(' '));
    assert.match(done.stderr, /usage:/);
  }
});
