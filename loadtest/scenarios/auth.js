// AUTH (NIP-42): each session answers its challenge, and another tries with what must not do: an
// answer to another challenge, or for another relay. Needs the build that can sign.

import exec from 'k6/execution';

import { Connection, sleep } from '../lib/client.js';
import { config } from '../lib/config.js';
import { metrics } from '../lib/metrics.js';
import { ANSWER_SECONDS } from '../lib/options.js';
import { signer } from '../lib/signer.js';
import { skips } from '../lib/skip.js';

/** How long a relay may take to its challenge, in milliseconds. */
const CHALLENGE_MS = 5_000;

/** How long a relay may take to a challenge of its own accord before it is asked for something private. */
const UNASKED_MS = 1_000;

let told = false;

export async function auth(data) {
  if (skips('auth', data)) {
    return;
  }
  const nth = exec.scenario.iterationInTest;
  const url = config.urls[nth % config.urls.length];
  let connection;
  try {
    connection = await Connection.open(url);
  } catch (error) {
    metrics.auth_failed.add(true);
    return;
  }
  const key = signer.nostr.key(config.seed, nth);
  const challenge = await challenged(connection, key);
  if (challenge === null) {
    metrics.auth_failed.add(true);
    connection.close();
    if (!told) {
      console.error(`${url} sent no challenge, neither unasked nor for a REQ of private messages (kind 1059)`);
      told = true;
    }
    return;
  }
  const wrong = [
    [url, `${challenge}x`],
    ['wss://another.example.com', challenge],
  ][nth % 2];
  const refused = await answer(connection, signer.nostr.auth(key, wrong[0], wrong[1]));
  if (refused.accepted) {
    metrics.auth_wrong_accepted.add(1);
  }
  const now = connection.challenge;
  const sent = Date.now();
  const { accepted, at } = await answer(connection, signer.nostr.auth(key, url, now));
  metrics.auth_failed.add(accepted !== true);
  if (accepted) {
    metrics.auth_ms.add(Math.max(0, at - sent));
    metrics.auth_done.add(1);
  }
  connection.close();
}

// Some relays send their challenge at once, others when somebody asks for what is private.
async function challenged(connection, key) {
  await challengedWithin(connection, UNASKED_MS);
  if (connection.challenge === null) {
    const own = signer.nostr.publicKey(key);
    connection.request('private', [{ kinds: [4, 1059], '#p': [own], limit: 1 }], {});
    await challengedWithin(connection, CHALLENGE_MS);
  }
  return connection.challenge;
}

async function challengedWithin(connection, ms) {
  const until = Date.now() + ms;
  while (connection.challenge === null && connection.open && Date.now() < until) {
    await sleep(10);
  }
}

function answer(connection, line) {
  return new Promise((done) => {
    const timer = setTimeout(() => done({ accepted: null, at: 0 }), ANSWER_SECONDS * 1000);
    const id = JSON.parse(line).id;
    connection.waiting.set(id, [
      (accepted, message, at) => {
        clearTimeout(timer);
        done({ accepted, message, at });
      },
    ]);
    if (!connection.send(`["AUTH",${line}]`)) {
      clearTimeout(timer);
      done({ accepted: null, at: 0 });
    }
  });
}
