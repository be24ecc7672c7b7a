#!/usr/bin/env node
// The verdict of a distributed run, from Prometheus: no instance of k6 sees more than its own part, so
// the thresholds of thresholds.json are asked of all instances' samples together.
//
//   node loadtest/verdict.mjs --prometheus http://prometheus:9090 --testid 2026-11-23-load
//     [--scenarios publish,fan_out] [--latency-factor 1] [--lag-most 100] [--range 24h]
//
// Needs K6_PROMETHEUS_RW_TREND_AS_NATIVE_HISTOGRAM=true in every instance: percentiles of other forms
// can't be added up. A generator whose timers and sends were late, or that left sessions out, measured
// itself: --lag-most 100 is the most, in milliseconds. Exit code 0 if all hold, 99 if one doesn't, 2 if Prometheus can't be asked or a
// generator was too busy.

import { readFileSync } from 'node:fs';
import { argv, exit, stderr, stdout } from 'node:process';
import { pathToFileURL } from 'node:url';

/** What measures the generator and needs METRICS_URL; asked for by name only. */
const BY_NAME_ONLY = ['generator'];

/** Sessions that were due and didn't begin, as a share of all. */
const DROPPED_MOST = 0.005;

const EXPRESSION = /^(p\((\d+(?:\.\d+)?)\)|max|rate|count|value)(<|<=|>|>=|==)(\d+(?:\.\d+)?)$/;

/**
 * PromQL for the left side of a threshold, in the threshold's unit. Samples of all instances count:
 * counters are added up, the worst instance stands for a rate or a value.
 */
export function query(scenario, metric, expression, testid, range) {
  const found = EXPRESSION.exec(expression);
  if (!found) {
    throw new Error(`thresholds.json: ${scenario}.${metric}: can't read ${expression}`);
  }
  const [, aggregation, percentile] = found;
  const of = (suffix) => `last_over_time(k6_${metric}${suffix}{scenario="${scenario}",testid="${testid}"}[${range}])`;
  if (aggregation === 'count') {
    return `sum(${of('_total')})`;
  }
  if (aggregation === 'rate') {
    return `max(${of('_rate')})`;
  }
  if (aggregation === 'value') {
    return `max(${of('')})`;
  }
  const share = percentile === undefined ? 1 : Number(percentile) / 100;
  return quantiles(of('_seconds'), (histograms) => `1000 * histogram_quantile(${share}, sum(${histograms}))`);
}

function quantiles(last, quantile) {
  // Old versions (2.42) know no last histogram: then what one grew by, which lacks its first seconds,
  // or that of the last five minutes.
  const forms = [last, last.replace('last_over_time', 'increase'), last.slice('last_over_time('.length, last.indexOf('['))];
  return forms.map(quantile).join(' or ');
}

/** Whether the measured value meets the threshold. No sample is 0 of a count, and else a failure. */
export function holds(expression, measured, latencyFactor = 1) {
  const [, aggregation, , comparison, limit] = EXPRESSION.exec(expression);
  const value = measured === null && aggregation === 'count' ? 0 : measured;
  if (value === null || Number.isNaN(value)) {
    return false;
  }
  const bound = Number(limit) * (/^p|^max/.test(aggregation) ? latencyFactor : 1);
  switch (comparison) {
    case '<':
      return value < bound;
    case '<=':
      return value <= bound;
    case '>':
      return value > bound;
    case '>=':
      return value >= bound;
    default:
      return value === bound;
  }
}

/** Why the generators' figures don't count; empty if they do. */
export async function excuses(value, testid, range, lagMost) {
  const of = (metric) => `last_over_time(k6_${metric}{testid="${testid}"}[${range}])`;
  const reasons = [];
  // The worst instance: one that is late spoils the percentiles of all.
  const lag = await value(
    quantiles(of('generator_lag_ms_seconds'), (histograms) => `1000 * max(histogram_quantile(0.99, sum by (instance_id) (${histograms})))`),
  );
  if (lag === null || !Number.isFinite(lag)) {
    reasons.push('no sample of generator_lag_ms: nothing ran, or without native histograms');
  } else if (lag > lagMost) {
    reasons.push(`a generator was ${Math.round(lag)} ms late (p99, most ${lagMost} ms): use more cores or machines`);
  }
  const [dropped, begun, usersBegun, usersFinished] = await Promise.all(
    ['dropped_iterations', 'iterations', 'users_begun', 'users_finished'].map(
      async (counter) => (await value(`sum(${of(`${counter}_total`)})`)) || 0,
    ),
  );
  if (dropped > DROPPED_MOST * (dropped + begun)) {
    reasons.push(`${dropped} sessions were due and didn't begin: the rate was not what the profile says`);
  }
  if (usersBegun > usersFinished) {
    reasons.push(`${usersBegun - usersFinished} users were cut short: what they missed wasn't counted`);
  }
  return reasons;
}

async function ask(prometheus, promql) {
  const url = `${prometheus.replace(/\/$/, '')}/api/v1/query?query=${encodeURIComponent(promql)}`;
  const answer = await fetch(url);
  const body = await answer.json();
  if (body.status !== 'success') {
    throw new Error(`Prometheus: ${body.error || answer.status}`);
  }
  const [first] = body.data.result;
  return first ? Number(first.value[1]) : null;
}

function options(args) {
  const given = { '--range': '24h', '--latency-factor': '1', '--lag-most': '100', '--scenarios': '' };
  for (let at = 0; at < args.length; at += 2) {
    if (!['--prometheus', '--testid', ...Object.keys(given)].includes(args[at]) || args[at + 1] === undefined) {
      throw new Error(`${args[at]}: no such option, or no value`);
    }
    given[args[at]] = args[at + 1];
  }
  if (!given['--prometheus'] || !given['--testid']) {
    throw new Error('--prometheus and --testid are needed');
  }
  return given;
}

function chosen(table, names) {
  if (names === '') {
    return Object.keys(table).filter((name) => !BY_NAME_ONLY.includes(name));
  }
  const list = names.split(',');
  const unknown = list.find((name) => !(name in table));
  if (unknown !== undefined) {
    throw new Error(`--scenarios: ${unknown} isn't in thresholds.json`);
  }
  return list;
}

/** The program; resolves to its exit code. */
export async function main(args) {
  try {
    const given = options(args);
    const table = JSON.parse(readFileSync(new URL('thresholds.json', import.meta.url), 'utf8'));
    const lines = ['| scenario | metric | threshold | measured | |', '| --- | --- | --- | ---: | --- |'];
    let failed = 0;
    for (const scenario of chosen(table, given['--scenarios'])) {
      for (const [metric, expressions] of Object.entries(table[scenario])) {
        for (const expression of expressions) {
          const promql = query(scenario, metric, expression, given['--testid'], given['--range']);
          const measured = await ask(given['--prometheus'], promql);
          const passed = holds(expression, measured, Number(given['--latency-factor']));
          failed += passed ? 0 : 1;
          const value = measured === null ? 'no sample' : Math.round(measured * 1000) / 1000;
          const verdict = passed ? 'passed' : '**FAILED**';
          lines.push(`| ${scenario} | ${metric} | \`${expression}\` | ${value} | ${verdict} |`);
        }
      }
    }
    const busy = await excuses(
      (promql) => ask(given['--prometheus'], promql),
      given['--testid'],
      given['--range'],
      Number(given['--lag-most']),
    );
    if (busy.length > 0) {
      stdout.write(`${lines.join('\n')}\n`);
      throw new Error(`not valid: ${busy.join('; ')}`);
    }
    stdout.write(`${lines.join('\n')}\n\n${failed === 0 ? 'All thresholds hold' : `${failed} thresholds don't hold`}.\n`);
    return failed === 0 ? 0 : 99;
  } catch (error) {
    stderr.write(`verdict: ${error.message}\n`);
    return 2;
  }
}

if (argv[1] && import.meta.url === pathToFileURL(argv[1]).href) {
  exit(await main(argv.slice(2)));
}
