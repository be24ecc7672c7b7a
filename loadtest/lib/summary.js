// The result: summary.json, summary.md and a few lines on the terminal.

import { config } from './config.js';
import { METRICS_OF } from './metrics.js';
import { limitsOf } from './thresholds.js';
import { markdown, text } from './report.js';

/** Share of the cores above which the generator was the bottleneck. */
const CPU_MOST = 0.8;

/** A timer that comes later than this, in one of a hundred cases, tells the same without a number. */
const LAG_MS_MOST = 100;

/** Sessions that were due and didn't begin, as a share of all. */
const DROPPED_MOST = 0.005;

export function handleSummary(data) {
  const result = resultOf(data);
  return {
    [`${config.out}/summary.json`]: `${JSON.stringify(result, null, 2)}\n`,
    [`${config.out}/summary.md`]: markdown(result),
    stdout: text(result),
  };
}

function resultOf(data) {
  const before = data.setup_data || {};
  const skipped = before.skipped || {};
  const scenarios = {};
  for (const name of Object.keys(config.scenarios)) {
    if (!(name in skipped)) {
      scenarios[name] = scenarioOf(name, data.metrics);
    }
  }
  if (config.metricsUrl) {
    scenarios.generator = scenarioOf('generator', data.metrics);
  }
  const cpu = cpuOf(data.metrics);
  const warnings = warningsOf(data.metrics, cpu);
  if (!data.setup_data) {
    warnings.push('The set-up failed: nothing was measured.');
  }
  return {
    format: 1,
    generator: `k6 ${before.generator || ''}`.trim(),
    profile: config.profile,
    targets: config.urls,
    relay: before.relay || { name: null, software: null, version: null },
    commit: config.commit,
    machine: config.machine,
    config_hash: config.configHash,
    rate_factor: config.rateFactor,
    scenario_seconds: config.seconds,
    started: before.started || null,
    seconds: Math.round(data.state.testRunDurationMs) / 1000,
    generator_cpu: cpu,
    valid: warnings.length === 0,
    warnings,
    skipped,
    scenarios,
  };
}

function value(metric, name) {
  return metric && metric.values && metric.values[name] !== undefined ? metric.values[name] : null;
}

const round = (number) => Math.round(number * 1000) / 1000;

/** The generator's share of its cores where it was greatest. */
function cpuOf(metrics) {
  const most = value(metrics.generator_cpu, 'max');
  return most === null ? null : round(most);
}

function scenarioOf(name, metrics) {
  const shown = {};
  const thresholds = [];
  for (const metric of METRICS_OF[name]) {
    const found = metrics[`${metric}{scenario:${name}}`] || metrics[metric];
    if (found) {
      shown[metric] = metric === 'generator_cpu' ? { value: cpuOf(metrics) } : valuesOf(found);
    }
  }
  for (const [metric, expressions] of Object.entries(limitsOf(name))) {
    for (const expression of expressions) {
      const found = metrics[`${metric}{scenario:${name}}`];
      const outcome = found && found.thresholds && found.thresholds[expression];
      if (outcome) {
        thresholds.push({ metric, expression, passed: outcome.ok });
      }
    }
  }
  const steps = stepsOf(name, metrics);
  return steps ? { metrics: shown, thresholds, steps } : { metrics: shown, thresholds };
}

function valuesOf({ type, values }) {
  switch (type) {
    case 'trend':
      return {
        count: values.count,
        p50: round(values['p(50)']),
        p90: round(values['p(90)']),
        p99: round(values['p(99)']),
        max: round(values.max),
      };
    case 'rate':
      return { rate: values.rate, count: values.passes + values.fails };
    case 'counter':
      return { count: values.count };
    default:
      return { value: values.value };
  }
}

// What each step of the breakpoint profile came to.
function stepsOf(name, metrics) {
  const { stages, knee } = config.scenarios[name] || {};
  if (!knee) {
    return null;
  }
  const steps = [];
  stages.forEach((stage, nth) => {
    const of = (metric) => metrics[`${metric}{scenario:${name},step:${nth}}`];
    const latency = of('publish_ok_ms');
    if (latency && latency.values.count > 0) {
      const passed = Object.keys(limitsOf(name)).every((metric) =>
        Object.values((of(metric) || {}).thresholds || {}).every(({ ok }) => ok),
      );
      steps.push({ rate: round(stage.rate), answered: latency.values.count, p99: round(latency.values['p(99)']), passed });
    }
  });
  // What began after the first step over a limit was cut short.
  const over = steps.findIndex(({ passed }) => !passed);
  const told = over < 0 ? steps : steps.slice(0, over + 1);
  const held = told.filter(({ passed }) => passed);
  return { steps: told, knee: held.length > 0 ? held[held.length - 1].rate : null };
}

function warningsOf(metrics, cpu) {
  const warnings = [];
  const lag = value(metrics.generator_lag_ms, 'p(99)');
  if (cpu !== null && cpu > CPU_MOST) {
    warnings.push(
      `The generator used ${Math.round(cpu * 100)} % of its cores (most ${CPU_MOST * 100} %): it measured itself. Use more cores or machines.`,
    );
  } else if (lag !== null && lag > LAG_MS_MOST) {
    warnings.push(
      `The generator's timers were ${Math.round(lag)} ms late (p99, most ${LAG_MS_MOST} ms): its machine is too busy, latencies are too high. Use more cores or machines.`,
    );
  }
  const dropped = value(metrics.dropped_iterations, 'count') || 0;
  const begun = value(metrics.iterations, 'count') || 0;
  if (dropped > DROPPED_MOST * (dropped + begun)) {
    warnings.push(`${dropped} sessions were due and didn't begin: the rate was not what the profile says.`);
  }
  const cut = (value(metrics.users_begun, 'count') || 0) - (value(metrics.users_finished, 'count') || 0);
  if (cut > 0) {
    warnings.push(`${cut} users were cut short: what they missed wasn't counted.`);
  }
  const unsent = value(metrics.publish_unsent, 'count') || 0;
  if (unsent > 0) {
    warnings.push(`${unsent} events weren't sent, as the corpus had ended: make a larger one.`);
  }
  const limited = value(metrics.rate_limited, 'count') || 0;
  if (limited > 0) {
    warnings.push(`The relay answered rate-limited: ${limited} times. Switch its limits off for load tests.`);
  }
  return warnings;
}
