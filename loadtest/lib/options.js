// k6's options: one k6 scenario for each of ours, and the thresholds of thresholds.json.

import { config } from './config.js';
import { readThresholds } from './thresholds.js';

/** Events of one publish session in a second, as many as relays let one connection send for long. */
const SESSION_EVENTS_PER_SECOND = 10;

/** Events a second of a publish session, and how many it has in all. */
export function sessionOf({ session, pace = SESSION_EVENTS_PER_SECOND }) {
  return { pace, size: Math.round(session * pace) };
}

/** REQs of one session: as many subscriptions as a client has open (filters.json). */
export const SESSION_REQUESTS = 12;

/** How long after its end a session may wait for answers, in seconds. */
export const ANSWER_SECONDS = 10;

/** How long subscribers may take to connect before a delivery is measured, in seconds. */
export const JOIN_SECONDS = 30;

/** How long subscribers have to join before the baseline begins that a disturbance is held against, in seconds. */
export const leadSeconds = ({ subscribers }) => 2 + subscribers / 50;

/** Clients that lost their connection, and what was sent meanwhile, have to be back by then, in seconds. */
export const BACK_SECONDS = 60;

/** k6 takes whole rates only; a long unit makes them fine enough. */
const UNIT = 1_000;

// A rate of sessions: they begin whether or not earlier ones were answered (open model).
function arrivals(scenario, perSession, seconds) {
  const stages = scenario.stages || [{ rate: scenario.rate, seconds: scenario.seconds }];
  const peak = Math.max(...stages.map((stage) => stage.rate)) / perSession;
  const rate = (given) => Math.max(1, Math.round((given / perSession) * UNIT));
  const users = Math.ceil(peak * (seconds + 1)) + 2;
  const common = {
    timeUnit: `${UNIT}s`,
    preAllocatedVUs: users,
    maxVUs: users * 2 + 10,
    gracefulStop: `${Math.ceil(seconds) + ANSWER_SECONDS + 5}s`,
  };
  if (stages.length === 1) {
    return {
      ...common,
      executor: 'constant-arrival-rate',
      rate: rate(stages[0].rate),
      duration: `${scenario.seconds}s`,
    };
  }
  return {
    ...common,
    executor: 'ramping-arrival-rate',
    startRate: rate(stages[0].rate),
    stages: stages.flatMap((stage) => [
      { target: rate(stage.rate), duration: '0s' },
      { target: rate(stage.rate), duration: `${stage.seconds}s` },
    ]),
  };
}

// As many users as told, each one iteration with its own connections. What a user counts at its end is
// lost if it has none, so it gets all the time that it may take.
function users(count, seconds) {
  return {
    executor: 'per-vu-iterations',
    vus: count,
    iterations: 1,
    maxDuration: `${Math.ceil(seconds)}s`,
    gracefulStop: '1s',
  };
}

// A storm rises to its rate over a third of its time and holds it.
function storm(scenario) {
  const rise = Math.max(1, Math.round(scenario.seconds / 3));
  const stages = scenario.stages || [
    { rate: scenario.rate / 4, seconds: rise },
    { rate: scenario.rate, seconds: Math.max(1, scenario.seconds - rise) },
  ];
  const made = arrivals({ ...scenario, stages }, scenario.batch, scenario.hold + 1);
  if (!scenario.stages) {
    const top = made.stages[made.stages.length - 1];
    made.stages = [{ target: top.target, duration: `${rise}s` }, top];
  }
  return made;
}

function executor(name, scenario) {
  switch (name) {
    case 'connect_storm':
      return storm(scenario);
    case 'publish':
      return arrivals(scenario, sessionOf(scenario).size, scenario.session);
    case 'req_mix':
      return arrivals(scenario, SESSION_REQUESTS, scenario.session);
    case 'count':
    case 'negentropy':
    case 'auth':
      return arrivals(scenario, 1, 1);
    case 'slow_readers':
      return users(scenario.vus + scenario.slow, JOIN_SECONDS + scenario.seconds + ANSWER_SECONDS);
    case 'reconnect_storm':
      return users(scenario.vus, JOIN_SECONDS + scenario.seconds + BACK_SECONDS + 2 * ANSWER_SECONDS);
    case 'hostile':
      return users(scenario.vus + scenario.attackers, JOIN_SECONDS + scenario.seconds + ANSWER_SECONDS);
    default:
      return users(scenario.vus, JOIN_SECONDS + scenario.seconds + ANSWER_SECONDS);
  }
}

/** When the last scenario's load ends, in seconds of the run. */
export function runSeconds() {
  return Math.max(...Object.values(config.scenarios).map(({ start, seconds }) => start + seconds));
}

export function options() {
  const scenarios = {};
  for (const [name, scenario] of Object.entries(config.scenarios)) {
    scenarios[name] = { ...executor(name, scenario), exec: name, startTime: `${scenario.start}s` };
  }
  const seconds = runSeconds();
  scenarios.generator = { ...users(1, seconds + 5), exec: 'generator', startTime: '0s' };
  const tags = { profile: config.profile };
  for (const [name, value] of [
    ['commit', config.commit],
    ['machine', config.machine],
    ['config_hash', config.configHash],
  ]) {
    if (value) {
      tags[name] = value;
    }
  }
  return {
    scenarios,
    thresholds: readThresholds(),
    tags,
    setupTimeout: '300s',
    summaryTrendStats: ['count', 'min', 'avg', 'p(50)', 'p(90)', 'p(99)', 'max'],
    // One time series for each URL and message size would only cost memory.
    systemTags: ['scenario', 'status', 'method', 'error_code'],
    noConnectionReuse: false,
    userAgent: 'heliograph-loadtest',
  };
}
