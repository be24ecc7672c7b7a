// main.js for the k6 that loadtest/k6 builds (cd loadtest/k6 && go build -o k6-nostr .): adds what
// needs live signatures, and the generator's own CPU time.

import './lib/with-signer.js';

export * from './lib/suite.js';
