// Connections come at a rising rate, in batches as after a reload of a page that many have open, are
// held for a while and go.

import exec from 'k6/execution';

import { Connection, sleep } from '../lib/client.js';
import { config } from '../lib/config.js';
import { metrics } from '../lib/metrics.js';

export async function connect_storm() {
  const { batch, hold } = config.scenarios.connect_storm;
  const first = exec.scenario.iterationInTest * batch;
  const opened = await Promise.all(
    Array.from({ length: batch }, (_, nth) => connect(config.urls[(first + nth) % config.urls.length])),
  );
  await sleep(hold * 1000);
  for (const connection of opened.filter(Boolean)) {
    // One that the relay drops is as good as none.
    if (!connection.open) {
      metrics.connect_failed.add(true);
    }
    connection.close();
  }
}

async function connect(url) {
  try {
    const connection = await Connection.open(url);
    metrics.connect_ms.add(connection.ms);
    metrics.connect_failed.add(false);
    metrics.connect_storm_done.add(1);
    return connection;
  } catch (error) {
    metrics.connect_failed.add(true);
    return null;
  }
}
