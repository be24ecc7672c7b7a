// Everything that k6 looks for in an entry: options, set-up, one function for each scenario, and the
// summary. Function names are the scenarios' names.

import { options as build } from './options.js';

export { setup } from './setup.js';
export { handleSummary } from './summary.js';

export { connect_storm } from '../scenarios/connect_storm.js';
export { publish } from '../scenarios/publish.js';
export { req_mix } from '../scenarios/req_mix.js';
export { fan_out } from '../scenarios/fan_out.js';
export { slow_readers } from '../scenarios/slow_readers.js';
export { reconnect_storm } from '../scenarios/reconnect_storm.js';
export { auth } from '../scenarios/auth.js';
export { count } from '../scenarios/count.js';
export { negentropy } from '../scenarios/negentropy.js';
export { hostile } from '../scenarios/hostile.js';
export { generator } from '../scenarios/generator.js';

export const options = build();
