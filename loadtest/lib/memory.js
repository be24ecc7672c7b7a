// The relay's memory, from the page that METRICS_URL names.

import http from 'k6/http';

import { config } from './config.js';

/** Resident bytes of the relay; `null` if the page doesn't say or isn't there. */
export function residentBytes() {
  const answer = http.get(config.metricsUrl, { timeout: '5s' });
  const found = /^\w*process_resident_memory_bytes(?:\{[^}]*\})? ([0-9.e+]+)/m.exec(answer.body || '');
  return found ? Number(found[1]) : null;
}
