// How long and how much each profile loads each scenario.
//
// `start` and `seconds` are in seconds of the run; a scenario also needs what its last sessions take.
// Rates are per second: events of publish, REQs of req_mix, connections of connect_storm, events of each
// user of what measures delivery (`vus` of them), sessions of the others. A publish session sends
// `pace` events a second, 10 if nothing is said. Rates are set for one relay process on a few cores;
// RATE_FACTOR scales them for anything else.

const SMOKE = {
  connect_storm: { start: 0, seconds: 5, rate: 20, batch: 4, hold: 1 },
  publish: { start: 0, seconds: 8, rate: 60, session: 2 },
  req_mix: { start: 6, seconds: 6, rate: 20, session: 2 },
  fan_out: { start: 9, seconds: 5, rate: 10, vus: 1, subscribers: 20 },
  count: { start: 11, seconds: 4, rate: 2, batch: 5 },
  negentropy: { start: 11, seconds: 4, rate: 2, batch: 2 },
  auth: { start: 11, seconds: 4, rate: 4 },
  slow_readers: { start: 14, seconds: 6, rate: 10, vus: 1, subscribers: 10, slow: 1, requests: 20 },
  reconnect_storm: { start: 15, seconds: 8, rate: 8, vus: 1, subscribers: 20 },
  hostile: { start: 20, seconds: 7, rate: 10, vus: 1, subscribers: 5, attackers: 4 },
};

const LOAD = {
  connect_storm: { start: 0, seconds: 600, rate: 50, batch: 10, hold: 10 },
  publish: { start: 0, seconds: 600, rate: 200, session: 10 },
  req_mix: { start: 0, seconds: 600, rate: 100, session: 10 },
  fan_out: { start: 0, seconds: 580, rate: 1, vus: 10, subscribers: 100 },
  count: { start: 30, seconds: 540, rate: 2, batch: 10 },
  negentropy: { start: 30, seconds: 540, rate: 1, batch: 4 },
  auth: { start: 30, seconds: 540, rate: 10 },
  slow_readers: { start: 60, seconds: 180, rate: 10, vus: 2, subscribers: 95, slow: 10, requests: 60 },
  reconnect_storm: { start: 270, seconds: 120, rate: 10, vus: 5, subscribers: 200 },
  hostile: { start: 420, seconds: 150, rate: 10, vus: 1, subscribers: 50, attackers: 20 },
};

const only = (scenarios, names) => Object.fromEntries(names.map((name) => [name, scenarios[name]]));

function spike() {
  // Five minutes; the third one has ten times the rate.
  const named = only(LOAD, ['connect_storm', 'publish', 'req_mix', 'fan_out']);
  const stages = (rate) => [
    { rate, seconds: 120 },
    { rate: 10 * rate, seconds: 60 },
    { rate, seconds: 120 },
  ];
  for (const [name, scenario] of Object.entries(named)) {
    named[name] = { ...scenario, seconds: name === 'fan_out' ? 290 : 300 };
  }
  for (const name of ['connect_storm', 'publish', 'req_mix']) {
    // The load of all day, tenfold for a minute: a tenth of a load run before and after.
    named[name] = { ...named[name], rate: named[name].rate / 2 };
    named[name].stages = stages(named[name].rate);
  }
  return named;
}

function soak() {
  const hours = 8 * 3_600;
  const named = only(LOAD, ['connect_storm', 'publish', 'req_mix', 'fan_out', 'count', 'negentropy']);
  for (const [name, scenario] of Object.entries(named)) {
    named[name] = { ...scenario, start: 0, seconds: hours, rate: scenario.rate / 10 };
  }
  named.fan_out = { ...named.fan_out, seconds: hours - 60, rate: 0.2, vus: 2 };
  return named;
}

function breakpoint() {
  // Steps of 30 s, each half as much again as the one before: 100 events a second to 8,650.
  const steps = Array.from({ length: 12 }, (_, nth) => ({
    rate: Math.round(100 * 1.5 ** nth),
    seconds: 30,
  }));
  const seconds = steps.reduce((sum, step) => sum + step.seconds, 0);
  return { publish: { start: 0, seconds, rate: 100, session: 5, pace: 50, stages: steps, knee: true } };
}

export const PROFILES = {
  smoke: { scenarios: SMOKE, latencyFactor: 4, seeds: 300 },
  load: { scenarios: LOAD, latencyFactor: 1, seeds: 5_000 },
  stress: { scenarios: LOAD, latencyFactor: 1, seeds: 5_000, rateFactor: 2 },
  spike: { scenarios: spike(), latencyFactor: 1, seeds: 5_000 },
  soak: { scenarios: soak(), latencyFactor: 1, seeds: 5_000 },
  breakpoint: { scenarios: breakpoint(), latencyFactor: 1, seeds: 300 },
};

/** The profile's scenarios with `SECONDS` and `RATE_FACTOR` applied. */
export function scenariosOf(profile, { seconds, rateFactor }) {
  const factor = rateFactor * (PROFILES[profile].rateFactor || 1);
  const scenarios = {};
  const longest = Math.max(...Object.values(PROFILES[profile].scenarios).map((given) => given.seconds));
  for (const [name, given] of Object.entries(PROFILES[profile].scenarios)) {
    const scenario = { ...given, rate: given.rate * factor };
    if (given.stages) {
      scenario.stages = given.stages.map((stage) => ({ ...stage, rate: stage.rate * factor }));
    }
    if (seconds > 0) {
      const share = seconds / given.seconds;
      scenario.seconds = seconds;
      scenario.start = Math.round(given.start * Math.min(1, seconds / longest));
      scenario.stages = scenario.stages && scenario.stages.map((stage) => ({
        ...stage,
        seconds: Math.max(1, Math.round(stage.seconds * share)),
      }));
    }
    scenarios[name] = scenario;
  }
  return scenarios;
}

/** Events that a scenario publishes, at most. */
export function eventsOf(scenario) {
  const stages = scenario.stages || [{ rate: scenario.rate, seconds: scenario.seconds }];
  return Math.ceil(stages.reduce((sum, stage) => sum + stage.rate * stage.seconds, 0));
}
