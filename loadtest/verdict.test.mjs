// node --test loadtest/verdict.test.mjs

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { holds, query } from './verdict.mjs';

const PROGRAM = fileURLToPath(new URL('verdict.mjs', import.meta.url));
const thresholds = JSON.parse(readFileSync(new URL('thresholds.json', import.meta.url), 'utf8'));

test('every threshold can be asked for', () => {
  for (const [scenario, metrics] of Object.entries(thresholds)) {
    for (const [metric, expressions] of Object.entries(metrics)) {
      expressions.forEach((expression) => {
        assert.match(query(scenario, metric, expression, 't', '1h'), new RegExp(`k6_${metric}.*scenario="${scenario}"`));
        assert.equal(typeof holds(expression, 0), 'boolean');
      });
    }
  }
});

test('percentiles are of all instances together, in milliseconds', () =>
  assert.ok(
    query('publish', 'publish_ok_ms', 'p(99)<250', 't', '1h').startsWith(
      '1000 * histogram_quantile(0.99, sum(last_over_time(k6_publish_ok_ms_seconds{scenario="publish",testid="t"}[1h]))) or ',
    ),
  ));

test('no sample fails, but is none of what must not be', () => {
  assert.equal(holds('p(99)<250', null), false);
  assert.equal(holds('rate<0.001', null), false);
  assert.equal(holds('count>0', null), false);
  assert.equal(holds('count==0', null), true);
});

test('limits hold below and not at them', () => {
  assert.equal(holds('p(99)<250', 249), true);
  assert.equal(holds('p(99)<250', 250), false);
  assert.equal(holds('p(99)<250', 900, 4), true);
  assert.equal(holds('count==0', 1), false);
  assert.equal(holds('count>0', 1, 4), true);
});

async function run(value, ...args) {
  const server = createServer((request, answer) => {
    const metric = /k6_(\w+)\{/.exec(decodeURIComponent(request.url))[1];
    const measured = value(metric);
    const result = measured === null ? [] : [{ metric: {}, value: [1, String(measured)] }];
    answer.end(JSON.stringify({ status: 'success', data: { resultType: 'vector', result } }));
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const url = `http://127.0.0.1:${server.address().port}`;
  const child = spawn(process.execPath, [PROGRAM, '--prometheus', url, '--testid', 't', ...args]);
  let output = '';
  child.stdout.on('data', (text) => (output += text));
  child.stderr.on('data', (text) => (output += text));
  const code = await new Promise((done) => child.on('close', done));
  server.close();
  return { code, output };
}

const good = (metric) => (/_(done|stalled|lost|attacks|duplicates)_total$|^(req_events|publish_invalid_refused)_total$/.test(metric) ? 5 : 0);

test('all thresholds that hold are a pass', async () => {
  const { code, output } = await run(good);
  assert.equal(code, 0, output);
  assert.match(output, /All thresholds hold/);
});

test('one that does not is exit code 99', async () => {
  const { code, output } = await run((metric) => (metric === 'delivery_missing_total' ? 1 : good(metric)));
  assert.equal(code, 99, output);
  assert.match(output, /fan_out \| delivery_missing \| `count==0` \| 1 \| \*\*FAILED/);
});

test('a scenario that no instance ran fails', async () => {
  const { code, output } = await run((metric) => (metric.startsWith('generator') ? 1 : null), '--scenarios', 'count');
  assert.equal(code, 99, output);
  assert.match(output, /count_done \| `count>0` \| no sample \| \*\*FAILED/);
});

test('a generator that was too busy has no verdict', async () => {
  const late = (metric) => (metric.startsWith('generator_lag_ms') ? 101 : good(metric));
  const { code, output } = await run(late);
  assert.equal(code, 2, output);
  assert.match(output, /a generator was 101 ms late/);
  assert.equal((await run(late, '--lag-most', '200')).code, 0);
  assert.equal((await run((metric) => (metric.startsWith('generator') ? null : good(metric)))).code, 2);
});

test('sessions that did not begin and users that were cut have none either', async () => {
  const counts = (over) => (metric) => ({ iterations_total: 1_000, ...over })[metric] ?? good(metric);
  const dropped = await run(counts({ dropped_iterations_total: 6 }));
  assert.equal(dropped.code, 2, dropped.output);
  assert.match(dropped.output, /6 sessions were due/);
  assert.equal((await run(counts({ dropped_iterations_total: 5 }))).code, 0);
  const cut = await run(counts({ users_begun_total: 3, users_finished_total: 2 }));
  assert.equal(cut.code, 2, cut.output);
  assert.match(cut.output, /1 users were cut short/);
});

test('wrong arguments are refused', async () => {
  assert.equal((await run(good, '--scenarios', 'nope')).code, 2);
  assert.equal((await run(good, '--what')).code, 2);
});
