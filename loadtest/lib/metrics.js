// Every metric of the suite. Trends are in milliseconds, rates are shares of what failed.

import { Counter, Gauge, Rate, Trend } from 'k6/metrics';

const trend = (name) => new Trend(name, true);

export const metrics = {
  connect_ms: trend('connect_ms'),
  connect_failed: new Rate('connect_failed'),
  connect_storm_done: new Counter('connect_storm_done'),

  publish_ok_ms: trend('publish_ok_ms'),
  publish_failed: new Rate('publish_failed'),
  publish_unanswered: new Counter('publish_unanswered'),
  publish_invalid_accepted: new Counter('publish_invalid_accepted'),
  publish_duplicate_wrong: new Counter('publish_duplicate_wrong'),
  publish_invalid_refused: new Counter('publish_invalid_refused'),
  publish_duplicates: new Counter('publish_duplicates'),
  publish_done: new Counter('publish_done'),
  publish_unsent: new Counter('publish_unsent'),

  req_eose_ms: trend('req_eose_ms'),
  req_first_event_ms: trend('req_first_event_ms'),
  req_failed: new Rate('req_failed'),
  req_wrong_events: new Counter('req_wrong_events'),
  req_refused: new Counter('req_refused'),
  req_events: new Counter('req_events'),
  req_mix_done: new Counter('req_mix_done'),

  delivery_ms: trend('delivery_ms'),
  delivery_unacked: new Counter('delivery_unacked'),
  delivery_missing: new Counter('delivery_missing'),
  delivery_duplicate: new Counter('delivery_duplicate'),
  fan_out_done: new Counter('fan_out_done'),

  slow_baseline_ms: trend('slow_baseline_ms'),
  slow_healthy_ms: trend('slow_healthy_ms'),
  slow_excess_ms: trend('slow_excess_ms'),
  slow_unacked: new Counter('slow_unacked'),
  slow_missing: new Counter('slow_missing'),
  slow_duplicate: new Counter('slow_duplicate'),
  slow_stalled: new Counter('slow_stalled'),
  slow_closed: new Counter('slow_closed'),
  slow_readers_done: new Counter('slow_readers_done'),

  reconnect_ms: trend('reconnect_ms'),
  reconnect_delivery_ms: trend('reconnect_delivery_ms'),
  reconnect_failed: new Counter('reconnect_failed'),
  reconnect_gap: new Counter('reconnect_gap'),
  reconnect_duplicate: new Counter('reconnect_duplicate'),
  reconnect_unacked: new Counter('reconnect_unacked'),
  reconnect_lost: new Counter('reconnect_lost'),
  reconnect_storm_done: new Counter('reconnect_storm_done'),

  auth_ms: trend('auth_ms'),
  auth_failed: new Rate('auth_failed'),
  auth_wrong_accepted: new Counter('auth_wrong_accepted'),
  auth_done: new Counter('auth_done'),

  count_ms: trend('count_ms'),
  count_failed: new Rate('count_failed'),
  count_wrong: new Counter('count_wrong'),
  count_done: new Counter('count_done'),

  neg_ms: trend('neg_ms'),
  neg_failed: new Rate('neg_failed'),
  neg_wrong: new Counter('neg_wrong'),
  negentropy_done: new Counter('negentropy_done'),

  hostile_baseline_ms: trend('hostile_baseline_ms'),
  hostile_legit_ms: trend('hostile_legit_ms'),
  hostile_excess_ms: trend('hostile_excess_ms'),
  hostile_unanswered: new Counter('hostile_unanswered'),
  hostile_missing: new Counter('hostile_missing'),
  hostile_duplicate: new Counter('hostile_duplicate'),
  hostile_accepted: new Counter('hostile_accepted'),
  hostile_attacks: new Counter('hostile_attacks'),
  hostile_done: new Counter('hostile_done'),

  rate_limited: new Counter('rate_limited'),
  users_begun: new Counter('users_begun'),
  users_finished: new Counter('users_finished'),
  generator_lag_ms: trend('generator_lag_ms'),
  generator_cpu: new Gauge('generator_cpu'),
  relay_rss_bytes: new Gauge('relay_rss_bytes'),
  relay_rss_percent_per_hour: new Gauge('relay_rss_percent_per_hour'),
};

/** Which metrics the summary shows under which scenario. */
export const METRICS_OF = {
  connect_storm: ['connect_ms', 'connect_failed', 'connect_storm_done'],
  publish: [
    'publish_ok_ms', 'publish_failed', 'publish_unanswered', 'publish_invalid_accepted',
    'publish_invalid_refused', 'publish_duplicate_wrong', 'publish_duplicates', 'publish_done',
  ],
  req_mix: [
    'req_eose_ms', 'req_first_event_ms', 'req_failed', 'req_wrong_events', 'req_refused',
    'req_events', 'req_mix_done',
  ],
  fan_out: [
    'delivery_ms', 'delivery_unacked', 'delivery_missing', 'delivery_duplicate', 'fan_out_done',
  ],
  slow_readers: [
    'slow_healthy_ms', 'slow_baseline_ms', 'slow_excess_ms', 'slow_unacked', 'slow_missing',
    'slow_duplicate', 'slow_stalled', 'slow_closed', 'slow_readers_done',
  ],
  reconnect_storm: [
    'reconnect_ms', 'reconnect_delivery_ms', 'reconnect_failed', 'reconnect_gap',
    'reconnect_duplicate', 'reconnect_unacked', 'reconnect_lost', 'reconnect_storm_done',
  ],
  auth: ['auth_ms', 'auth_failed', 'auth_wrong_accepted', 'auth_done'],
  count: ['count_ms', 'count_failed', 'count_wrong', 'count_done'],
  negentropy: ['neg_ms', 'neg_failed', 'neg_wrong', 'negentropy_done'],
  hostile: [
    'hostile_legit_ms', 'hostile_baseline_ms', 'hostile_excess_ms', 'hostile_unanswered',
    'hostile_missing', 'hostile_duplicate', 'hostile_accepted', 'hostile_attacks', 'hostile_done',
  ],
  generator: ['generator_lag_ms', 'generator_cpu', 'relay_rss_bytes', 'relay_rss_percent_per_hour'],
};
