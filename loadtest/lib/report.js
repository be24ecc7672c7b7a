// A result as Markdown and as text for the terminal.

const shown = (values) => {
  if ('p99' in values) {
    return `${values.count} samples, p50 ${values.p50}, p90 ${values.p90}, p99 ${values.p99}, max ${values.max}`;
  }
  if ('rate' in values) {
    return `${(values.rate * 100).toFixed(2)} % of ${values.count}`;
  }
  return `${'count' in values ? values.count : values.value}`;
};

const verdict = (passed) => (passed ? 'passed' : '**FAILED**');

function facts(result) {
  const { relay } = result;
  return [
    ['relay', [relay.name, relay.software, relay.version].filter(Boolean).join(', ') || 'unknown'],
    ['targets', result.targets.join(', ')],
    ['commit', result.commit || '–'],
    ['config', result.config_hash || '–'],
    ['machine', result.machine || '–'],
    ['generator', result.generator],
    ['generator CPU', result.generator_cpu === null ? 'unknown' : `${Math.round(result.generator_cpu * 100)} %`],
    ['started', result.started || '–'],
    ['seconds', result.seconds],
  ];
}

export function markdown(result) {
  const lines = [`# Load test: ${result.profile}`, ''];
  lines.push('| | |', '| --- | --- |');
  facts(result).forEach(([name, value]) => lines.push(`| ${name} | ${value} |`));
  lines.push('', result.valid ? 'The result is valid.' : '**The result is not valid:**', '');
  result.warnings.forEach((warning) => lines.push(`- ${warning}`));
  for (const [name, scenario] of Object.entries(result.scenarios)) {
    lines.push('', `## ${name}`, '', '| metric | measured | threshold | |', '| --- | --- | --- | --- |');
    for (const [metric, values] of Object.entries(scenario.metrics)) {
      const limits = scenario.thresholds.filter((threshold) => threshold.metric === metric);
      const expressions = limits.map(({ expression }) => `\`${expression}\``).join(', ');
      const outcome = limits.length > 0 ? verdict(limits.every(({ passed }) => passed)) : '';
      lines.push(`| ${metric} | ${shown(values)} | ${expressions} | ${outcome} |`);
    }
    if (scenario.steps) {
      lines.push('', '| events a second | answered | p99 ms | |', '| --- | --- | --- | --- |');
      scenario.steps.steps.forEach((step) =>
        lines.push(`| ${step.rate} | ${step.answered} | ${step.p99} | ${verdict(step.passed)} |`),
      );
      lines.push('', `Knee: ${knee(scenario.steps)}.`);
    }
  }
  const skipped = Object.entries(result.skipped);
  if (skipped.length > 0) {
    lines.push('', '## Skipped', '');
    skipped.forEach(([name, reason]) => lines.push(`- ${name}: ${reason}`));
  }
  return `${lines.join('\n')}\n`;
}

const knee = ({ knee: rate }) =>
  rate === null ? 'none, the first step was over a limit' : `${rate} events a second were within all limits`;

export function text(result) {
  const lines = ['', `load test, profile ${result.profile}, ${result.seconds} s`];
  for (const [name, scenario] of Object.entries(result.started === null ? {} : result.scenarios)) {
    const failed = scenario.thresholds.filter(({ passed }) => !passed);
    const latency = Object.entries(scenario.metrics).find(([, values]) => 'p99' in values);
    const told = latency ? `${latency[0]} p50 ${latency[1].p50} p99 ${latency[1].p99}` : '';
    lines.push(`  ${failed.length === 0 ? 'passed' : 'FAILED'}  ${name.padEnd(16)} ${told}`);
    failed.forEach(({ metric, expression }) => {
      const measured = scenario.metrics[metric] ? shown(scenario.metrics[metric]) : 'no sample';
      lines.push(`            ${metric} ${expression}: ${measured}`);
    });
    if (scenario.steps) {
      lines.push(`            knee: ${knee(scenario.steps)}`);
    }
  }
  for (const [name, reason] of Object.entries(result.skipped)) {
    lines.push(`  skipped ${name.padEnd(16)} ${reason}`);
  }
  result.warnings.forEach((warning) => lines.push(`  NOT VALID: ${warning}`));
  return `${lines.join('\n')}\n`;
}
