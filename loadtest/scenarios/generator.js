// Watches for the whole run: how late the generator's timers are, with the signing build how much
// CPU it takes, and the relay's memory if METRICS_URL names its metrics.
//
// Stock k6 can't read its own CPU time. On a machine whose cores are all busy a timer waits for its
// turn, and that is what makes measured latencies wrong; so its lateness is the sign to look at.

import { sleep } from '../lib/client.js';
import { config } from '../lib/config.js';
import { metrics } from '../lib/metrics.js';
import { runSeconds } from '../lib/options.js';
import { residentBytes } from '../lib/memory.js';
import { signer } from '../lib/signer.js';

/** How often timers are looked at, in milliseconds. */
const EVERY = 50;

/** How often the relay's memory is looked at, and the CPU time: in so many parts of the run. */
const PARTS = 200;

/** The shortest time whose CPU time is told, in milliseconds: a shorter one may be busy by chance. */
const CPU_WINDOW = 5_000;

/** The share of the run in which the relay may still grow to its working size. */
const WARM_UP = 0.25;

export async function generator() {
  const started = Date.now();
  const length = runSeconds() * 1000;
  const cpu = signer.nostr ? new Cpu(Math.max(CPU_WINDOW, length / PARTS)) : null;
  const memory = [];
  let part = 0;
  while (Date.now() < started + length) {
    const due = Date.now() + EVERY;
    await sleep(EVERY);
    metrics.generator_lag_ms.add(Math.max(0, Date.now() - due));
    const now = Date.now() - started;
    if (cpu) {
      cpu.look();
    }
    if (config.metricsUrl && now >= (part * length) / PARTS) {
      part += 1;
      remember(memory, now / 3_600_000);
    }
  }
  if (cpu && cpu.windows === 0) {
    cpu.add();
  }
  const slope = growth(memory.slice(Math.floor(memory.length * WARM_UP)));
  if (slope !== null) {
    metrics.relay_rss_percent_per_hour.add(slope);
  }
}

// The CPU time of one window after the other; the summary takes the greatest.
class Cpu {
  constructor(window) {
    this.window = window;
    this.windows = 0;
    this.begin();
  }

  begin() {
    this.since = Date.now();
    this.seconds = signer.nostr.cpu().seconds;
  }

  look() {
    if (Date.now() - this.since >= this.window) {
      this.add();
      this.begin();
    }
  }

  add() {
    const now = signer.nostr.cpu();
    const lasted = (Date.now() - this.since) / 1000;
    metrics.generator_cpu.add((now.seconds - this.seconds) / lasted / now.cores);
    this.windows += 1;
  }
}

function remember(memory, hours) {
  const bytes = residentBytes();
  if (bytes !== null) {
    metrics.relay_rss_bytes.add(bytes);
    memory.push({ hours, bytes });
  }
}

/** The slope of the line through the points (least squares), in per cent of their mean an hour. */
function growth(points) {
  if (points.length < 3) {
    return null;
  }
  const mean = (of) => points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const hours = mean((point) => point.hours);
  const bytes = mean((point) => point.bytes);
  const over = mean((point) => (point.hours - hours) * (point.bytes - bytes));
  const under = mean((point) => (point.hours - hours) ** 2);
  return under > 0 ? ((over / under) / bytes) * 100 : null;
}
