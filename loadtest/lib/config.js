// What the environment says, checked. Nothing else reads `__ENV`.

import { PROFILES, scenariosOf } from './profiles.js';

function fail(message) {
  throw new Error(`loadtest: ${message}`);
}

function number(name, fallback, least) {
  const text = __ENV[name];
  if (text === undefined || text === '') {
    return fallback;
  }
  const value = Number(text);
  if (!Number.isFinite(value) || value < least) {
    fail(`${name}=${text}: expected a number of at least ${least}`);
  }
  return value;
}

function list(text) {
  return (text || '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

function urls() {
  const given = list(__ENV.URLS || __ENV.URL);
  if (given.length === 0) {
    fail('no relay given: add -e URL=ws://127.0.0.1:7777, or -e URLS=ws://a:7777,ws://b:7777');
  }
  for (const url of given) {
    if (!/^wss?:\/\/[^/]+/.test(url)) {
      fail(`${url} is no address of a relay: expected ws://host:port or wss://host`);
    }
  }
  return given;
}

// Paths count from the working directory, as in any other program; k6 would take the script's.
function path(text) {
  return text.startsWith('/') || !__ENV.PWD ? text : `${__ENV.PWD}/${text}`;
}

function chosen(scenarios) {
  const names = list(__ENV.SCENARIOS);
  for (const name of names) {
    if (!(name in scenarios)) {
      fail(`SCENARIOS: ${name} isn't one of ${Object.keys(scenarios).join(', ')}`);
    }
  }
  if (names.length === 0) {
    return scenarios;
  }
  // What was asked for by name needn't wait for what wasn't.
  return Object.fromEntries(names.map((name) => [name, { ...scenarios[name], start: 0 }]));
}

function read() {
  const profile = __ENV.PROFILE || 'smoke';
  if (!(profile in PROFILES)) {
    fail(`PROFILE=${profile}: expected one of ${Object.keys(PROFILES).join(', ')}`);
  }
  const kill = __ENV.KILL || (__ENV.KILL_URL ? 'url' : 'client');
  if (!['client', 'url', 'other'].includes(kill)) {
    fail(`KILL=${kill}: expected client, url or other`);
  }
  if (kill === 'url' && !__ENV.KILL_URL) {
    fail('KILL=url needs KILL_URL');
  }
  const all = urls();
  const seconds = number('SECONDS', 0, 1);
  const rateFactor = number('RATE_FACTOR', 1, 0.001);
  return {
    profile,
    urls: all,
    publishUrl: all[0],
    readUrls: all.length > 1 ? all.slice(1) : all,
    scenarios: chosen(
      scenariosOf(profile, { seconds, rateFactor }),
    ),
    rateFactor,
    // None where each scenario lasts as long as the profile says.
    seconds: seconds || null,
    latencyFactor: number('LATENCY_FACTOR', PROFILES[profile].latencyFactor, 0.001),
    corpus: path(__ENV.CORPUS || 'corpus.jsonl'),
    corpusMaxAgeDays: number('CORPUS_MAX_AGE', 7, 0),
    out: (__ENV.OUT || '.').replace(/\/$/, ''),
    seed: number('SEED', 1, 0),
    commit: __ENV.COMMIT || null,
    machine: __ENV.MACHINE || null,
    configHash: __ENV.CONFIG_HASH || null,
    k6Version: __ENV.K6_VERSION || null,
    metricsUrl: __ENV.METRICS_URL || null,
    nips: list(__ENV.NIPS).map(Number),
    kill,
    killUrl: __ENV.KILL_URL || null,
    killAt: number('KILL_AT', 0, 0),
  };
}

export const config = read();
