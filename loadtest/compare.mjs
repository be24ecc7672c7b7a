#!/usr/bin/env node
// Compares two results of the load test, of k6 or of the native generator:
//
//   node loadtest/compare.mjs OLD.json NEW.json [--most 10]
//
// Writes a Markdown table. Exit code 0 if nothing got worse by more than `--most` per cent, 1 if
// something did, 2 if the two can't be compared or an argument is wrong.

import { readFileSync } from 'node:fs';
import { argv, exit, stderr, stdout } from 'node:process';
import { pathToFileURL } from 'node:url';

/** The only format of results so far. */
const FORMAT = 1;

/** Differences of latency below this are not told apart: the generator's clock counts milliseconds. */
const LEAST_MS = 2;

/** Counters of what must not be. */
const BAD = /_(missing|duplicate|wrong|wrong_events|unanswered|unacked|accepted|gap|failed)$/;

/** Counters of work done, compared by the second. */
const WORK = /_done$/;

/** Not compared: differences and slopes, mostly about zero, and what the generator says of itself. */
const LEFT_OUT = /_excess_ms$|_percent_per_hour$|^generator_/;

/** Beside the scenarios, and only where somebody asked for it. */
const ASIDE = 'generator';

/** Why the two results can't be compared; empty if they can. */
export function obstacles(old, fresh) {
  const reasons = [];
  for (const [name, result] of [['the old result', old], ['the new result', fresh]]) {
    if (result === null || typeof result !== 'object' || result.format !== FORMAT) {
      reasons.push(`${name} isn't of format ${FORMAT}`);
    } else if (result.valid !== true) {
      reasons.push(`${name} isn't valid: ${(result.warnings || []).join(' ') || 'no reason given'}`);
    } else if (!result.scenarios || Object.keys(result.scenarios).length === 0) {
      reasons.push(`${name} has no scenario`);
    }
  }
  if (reasons.length === 0) {
    if (old.profile !== fresh.profile) {
      reasons.push(`the profiles differ: ${old.profile} and ${fresh.profile}`);
    }
    for (const [key, names] of [['rate_factor', 'rates'], ['scenario_seconds', 'lengths of the scenarios']]) {
      if (factor(old, key) !== factor(fresh, key)) {
        reasons.push(`the ${names} differ: ${key} ${factor(old, key)} and ${factor(fresh, key)}`);
      }
    }
    if (family(old) !== family(fresh)) {
      reasons.push(`the generators differ: ${old.generator} and ${fresh.generator}`);
    }
    reasons.push(...unreadable('the old result', old), ...unreadable('the new result', fresh));
  }
  return reasons;
}

/** `null` where the result doesn't say: the native generator has no such options. */
const factor = (result, key) => result[key] ?? null;

/** What of the values can't be a figure; what isn't measured is no reason here, but worse. */
export function unreadable(name, result) {
  const reasons = [];
  const finite = (value) => typeof value === 'number' && Number.isFinite(value);
  if (!finite(result.seconds)) {
    reasons.push(`${name}: seconds isn't a number`);
  }
  for (const [scenario, { metrics }] of Object.entries(result.scenarios)) {
    for (const [metric, values] of Object.entries(metrics || {})) {
      const keys = Object.keys(values || {});
      const latency = keys.some((key) => /^p\d+$/.test(key));
      const wanted = latency ? ['count', 'p50', 'p99'] : ['rate', 'value', 'count'].filter((key) => keys.includes(key)).slice(0, 1);
      const missing = wanted.length === 0 ? ['any value'] : wanted.filter((key) => !finite(values[key]));
      reasons.push(...missing.map((key) => `${name}: ${scenario}.${metric}: ${key} isn't a number`));
    }
  }
  return reasons;
}

const family = ({ generator }) => String(generator).split(' ')[0];

/** One row for each value that both results have: `{scenario, metric, value, old, new, change, worse}`. */
export function compare(old, fresh, most) {
  const rows = [];
  for (const [scenario, before] of Object.entries(old.scenarios)) {
    const after = fresh.scenarios[scenario];
    if (!after && scenario === ASIDE) {
      continue;
    }
    if (!after) {
      const reason = (fresh.skipped || {})[scenario] || 'not in the new result';
      rows.push({ scenario, metric: '', value: '', old: 'ran', new: reason, change: null, worse: true });
      continue;
    }
    for (const [metric, values] of Object.entries(before.metrics)) {
      for (const row of rowsOf(metric, values, after.metrics[metric], [old.seconds, fresh.seconds], most)) {
        rows.push({ scenario, metric, ...row });
      }
    }
  }
  return rows;
}

function rowsOf(metric, before, after, seconds, most) {
  if (LEFT_OUT.test(metric)) {
    return [];
  }
  if (!after || shape(before) !== shape(after)) {
    return [{ value: '', old: 'measured', new: 'not measured', change: null, worse: true }];
  }
  if ('p99' in before) {
    return ['p50', 'p99'].map((value) => latency(value, before, after, most)).filter((row) => row !== null);
  }
  if ('rate' in before) {
    const [old, fresh] = [before.rate, after.rate];
    return [{ value: 'share', old, new: fresh, change: change(old, fresh), worse: fresh > old * (1 + most / 100) }];
  }
  if ('value' in before) {
    const [old, fresh] = [before.value, after.value];
    return [{ value: '', old, new: fresh, change: change(old, fresh), worse: fresh > old * (1 + most / 100) }];
  }
  const [old, fresh] = [before.count, after.count];
  if (BAD.test(metric)) {
    return [{ value: 'count', old, new: fresh, change: change(old, fresh), worse: fresh > old }];
  }
  if (WORK.test(metric) && seconds.every((lasted) => lasted > 0)) {
    const [was, is] = [old / seconds[0], fresh / seconds[1]];
    return [{ value: 'a second', old: was, new: is, change: change(was, is), worse: is < was * (1 - most / 100) }];
  }
  return [];
}

/** A latency, a share, a value or a count. */
const shape = (values) => ['p99', 'rate', 'value'].find((key) => key in values) || 'count';

function latency(value, before, after, most) {
  const [old, fresh] = [before[value], after[value]];
  // What had no sample has no latency either: nothing to compare with.
  if (before.count === 0) {
    return null;
  }
  // No sample has no latency: that a latency is gone is no improvement.
  const gone = before.count > 0 && !(after.count > 0);
  const worse = gone || (fresh > old * (1 + most / 100) && fresh - old > LEAST_MS);
  return { value: `${value} ms`, old, new: gone ? 'no sample' : fresh, change: gone ? null : change(old, fresh), worse };
}

/** The change in per cent; `null` if there is none to speak of. */
function change(old, fresh) {
  if (old === fresh) {
    return 0;
  }
  return old > 0 ? ((fresh - old) / old) * 100 : null;
}

const shown = (value) => (typeof value === 'number' ? String(Math.round(value * 1000) / 1000) : value);

const signed = (value) => (value === null ? '' : `${value > 0 ? '+' : ''}${value.toFixed(1)} %`);

/** The comparison as Markdown. */
export function markdown(old, fresh, rows, most) {
  const worse = rows.filter((row) => row.worse).length;
  const lines = [`# ${old.profile}: ${old.commit || 'old'} against ${fresh.commit || 'new'}`, ''];
  for (const [name, key] of [['machines', 'machine'], ['configurations', 'config_hash']]) {
    if ((old[key] || null) !== (fresh[key] || null)) {
      lines.push(`The ${name} differ: ${old[key] || 'unknown'} and ${fresh[key] || 'unknown'}.`, '');
    }
  }
  lines.push('| scenario | metric | value | old | new | change | |', '| --- | --- | --- | ---: | ---: | ---: | --- |');
  for (const row of rows) {
    const verdict = row.worse ? '**worse**' : '';
    lines.push(
      `| ${row.scenario} | ${row.metric} | ${row.value} | ${shown(row.old)} | ${shown(row.new)} | ${signed(row.change)} | ${verdict} |`,
    );
  }
  const total = worse === 0 ? 'Nothing is worse' : `${worse} of ${rows.length} values are worse`;
  lines.push('', `${total} by more than ${most} %.`);
  return `${lines.join('\n')}\n`;
}

function usage(message) {
  stderr.write(`${message}\nusage: node compare.mjs OLD.json NEW.json [--most PERCENT]\n`);
  return 2;
}

function read(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new Error(`${path} can't be read as a result: ${error.message}`);
  }
}

/** The program; returns its exit code. */
export function main(args) {
  const files = [];
  let most = 10;
  for (let at = 0; at < args.length; at += 1) {
    if (args[at] === '--most') {
      at += 1;
      most = Number(args[at]);
      if (args[at] === undefined || args[at] === '' || !Number.isFinite(most) || most < 0) {
        return usage(`--most ${args[at] ?? ''}: expected a number of per cent`);
      }
    } else if (args[at].startsWith('--')) {
      return usage(`${args[at]}: no such option`);
    } else {
      files.push(args[at]);
    }
  }
  if (files.length !== 2) {
    return usage(`expected two results, got ${files.length}`);
  }
  let results;
  try {
    results = files.map(read);
  } catch (error) {
    return usage(error.message);
  }
  const [old, fresh] = results;
  const reasons = obstacles(old, fresh);
  if (reasons.length > 0) {
    reasons.forEach((reason) => stderr.write(`can't compare: ${reason}\n`));
    return 2;
  }
  const rows = compare(old, fresh, most);
  stdout.write(markdown(old, fresh, rows, most));
  return rows.some(({ worse }) => worse) ? 1 : 0;
}

if (argv[1] && import.meta.url === pathToFileURL(argv[1]).href) {
  exit(main(argv.slice(2)));
}
