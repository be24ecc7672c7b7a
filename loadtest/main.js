// The load test's entry for stock k6, 1.8 and later and 2:
//
//   k6 run -e PROFILE=smoke -e URL=ws://127.0.0.1:7777 loadtest/main.js
//
// Options, all by -e; lib/config.js reads them, docs/operate/load.md explains them:
//   URL, URLS            one relay, or several addresses of one relay (publish through the first)
//   PROFILE              smoke, load, stress, spike, soak or breakpoint
//   SCENARIOS            some of the scenarios, comma-separated; they then all start at once
//   SECONDS              how long each scenario lasts, instead of what the profile says
//   RATE_FACTOR          multiplies every rate
//   LATENCY_FACTOR       multiplies the latency limits of thresholds.json (smoke: 4, others: 1)
//   NIPS                 what the relay can though its information document doesn't say so, as in 45,77
//   CORPUS, CORPUS_MAX_AGE, SEED, OUT, COMMIT, MACHINE, CONFIG_HASH, METRICS_URL
//   KILL, KILL_URL, KILL_AT   what breaks connections in reconnect_storm
//
// main-signing.js is the same for the k6 that loadtest/k6 builds: it can sign, hence authenticate.

export * from './lib/suite.js';
