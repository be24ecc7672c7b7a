// thresholds.json as k6 wants it: each on the samples of its scenario.

import { config } from './config.js';
import { signer } from './signer.js';

const table = JSON.parse(open(import.meta.resolve('../thresholds.json')));

/** A step of the breakpoint profile ends the run only when it has run for so long and has samples enough. */
const STEP_SECONDS = 15;

/** The limits of one scenario with LATENCY_FACTOR applied: `{metric: [expression, …]}`. */
export function limitsOf(name) {
  const limits = {};
  for (const [metric, expressions] of Object.entries(table[name] || {})) {
    limits[metric] = expressions.map((expression) => scaled(metric, expression));
  }
  return limits;
}

function scaled(metric, expression) {
  if (!metric.endsWith('_ms') || config.latencyFactor === 1) {
    return expression;
  }
  return expression.replace(/[\d.]+$/, (limit) => String(Number(limit) * config.latencyFactor));
}

/** Scenarios that stock k6 can't run; they are skipped, so nothing is asked of them. */
export function impossible(name) {
  return name === 'auth' && !signer.nostr
    ? 'needs signatures: run main-signing.js with the k6 that loadtest/k6 builds'
    : null;
}

export function readThresholds() {
  const thresholds = {};
  for (const [name, scenario] of Object.entries(config.scenarios)) {
    for (const [metric, expressions] of Object.entries(limitsOf(name))) {
      if (scenario.knee) {
        Object.assign(thresholds, stepped(name, scenario, metric, expressions));
      } else {
        thresholds[`${metric}{scenario:${name}}`] = expressions;
      }
    }
  }
  // Who is cut short, or fails in the script, found nothing wrong because it didn't look to the end.
  for (const [name, { vus, slow = 0, attackers = 0 }] of Object.entries(config.scenarios)) {
    if (vus > 0) {
      thresholds[`users_finished{scenario:${name}}`] = [`count>=${vus + slow + attackers}`];
    }
  }
  if (config.metricsUrl && config.profile === 'soak') {
    for (const [metric, expressions] of Object.entries(limitsOf('generator'))) {
      thresholds[`${metric}{scenario:generator}`] = expressions;
    }
  }
  return thresholds;
}

// In the breakpoint profile each step answers for itself, and the first over its limit ends the run.
function stepped(name, scenario, metric, expressions) {
  const thresholds = {};
  // k6 counts the delay from the start of the test.
  let begins = scenario.start;
  scenario.stages.forEach(({ seconds }, step) => {
    const delayAbortEval = `${begins + Math.min(STEP_SECONDS, seconds)}s`;
    begins += seconds;
    thresholds[`${metric}{scenario:${name},step:${step}}`] = expressions
      .filter((expression) => !expression.startsWith('count>'))
      .map((threshold) => ({ threshold, abortOnFail: true, delayAbortEval }));
  });
  return thresholds;
}
