// Connections break in the middle of a feed, as when one of several gateways dies. Clients come back
// with full-jitter backoff, to the next address if there are several, and ask again for what is newer
// than they saw. Nothing that was acknowledged may be missing then.
//
// What breaks them (KILL): `client` closes half of them from here; `url` posts to KILL_URL, a hook
// that kills a gateway; `other` waits for somebody else to do it.

import exec from 'k6/execution';
import http from 'k6/http';

import { Connection, sleep } from '../lib/client.js';
import { config } from '../lib/config.js';
import { liveOf } from '../lib/corpus.js';
import { Feed, Subscriber, tally } from '../lib/feed.js';
import { metrics } from '../lib/metrics.js';
import { BACK_SECONDS } from '../lib/options.js';

/** First and longest wait before a try, in milliseconds: the wait is drawn from 0 to it. */
const BACKOFF_MS = 200;
const BACKOFF_MS_MOST = 10_000;

/** Events that a client asks for at a time when it comes back. */
const PAGE = 500;

/** What a client overlaps beyond the disorder of the corpus, for events that were sent again. */
const OVERLAP_SECONDS = 60;

/** The share of the time after which connections break, unless KILL_AT says a second. */
const KILL_SHARE = 1 / 3;

export async function reconnect_storm() {
  const { rate, seconds, subscribers } = config.scenarios.reconnect_storm;
  const user = exec.scenario.iterationInTest;
  metrics.users_begun.add(1);
  const feed = new Feed({
    lines: liveOf('reconnect_storm', user),
    publishUrl: config.publishUrl,
    // Clients hang on all addresses, the publisher's too.
    readUrls: config.urls,
    deliver: (ms) => metrics.reconnect_delivery_ms.add(ms),
    duplicate: () => metrics.reconnect_duplicate.add(1),
    subscriber: Client,
  });
  feed.disorder = disorder(feed.times);
  await feed.join(subscribers);
  const publisher = keepPublishing(feed);
  const before = config.killAt || seconds * KILL_SHARE;
  await feed.publish(rate, before);
  kill(feed, user);
  await feed.publish(rate, seconds - before);
  const until = Date.now() + BACK_SECONDS * 1000;
  const late = await back(feed, until);
  await publisher.settle(until);
  await feed.settle();
  metrics.reconnect_failed.add(late);
  metrics.reconnect_unacked.add(feed.unacked());
  metrics.reconnect_gap.add(feed.missing());
  metrics.reconnect_storm_done.add(feed.delivered());
  publisher.stop();
  feed.subscribers.forEach((subscriber) => subscriber.stop());
  metrics.users_finished.add(1);
  feed.leave();
}

function kill(feed, user) {
  if (config.kill === 'client') {
    feed.subscribers.filter((_, nth) => nth % 2 === 0).forEach((subscriber) => subscriber.close());
  } else if (config.kill === 'url' && user === 0) {
    // Events flow on meanwhile, and clients see at once that they are cut off.
    http.asyncRequest('POST', config.killUrl).then(
      ({ status }) => status === 200 || console.error(`KILL_URL answered ${status}: nothing was killed`),
      (error) => console.error(`KILL_URL didn't answer: ${error}`),
    );
  }
}

/** Waits until all clients are live again; returns how many aren't when time is over. */
async function back(feed, until) {
  const away = () => feed.subscribers.filter((subscriber) => !subscriber.live).length;
  while (away() > 0 && Date.now() < until) {
    await sleep(50);
  }
  return away();
}

// How much older than one before it an event is, at most, in seconds.
function disorder(times) {
  let newest = 0;
  return times.reduce((most, time) => {
    newest = Math.max(newest, time);
    return Math.max(most, newest - time);
  }, 0);
}

const backoff = (tries) => Math.random() * Math.min(BACKOFF_MS_MOST, BACKOFF_MS * 2 ** tries);

class Client extends Subscriber {
  constructor(feed, nth, filter) {
    super(feed, nth, filter);
    this.stopped = false;
  }

  async join(url = this.url(), filter = this.filter) {
    const joined = await super.join(url, filter);
    if (joined) {
      this.watch();
    }
    return joined;
  }

  watch() {
    this.connection.ended.then(() => {
      if (!this.stopped) {
        this.live = false;
        metrics.reconnect_lost.add(1);
        this.comeBack(Date.now());
      }
    });
  }

  async comeBack(lost) {
    for (let tries = 0; !this.stopped; tries += 1) {
      await sleep(backoff(tries));
      const filter = { ...this.filter, since: this.since(), limit: PAGE };
      if (!this.stopped && (await super.join(this.url(tries), filter))) {
        metrics.reconnect_ms.add(Date.now() - lost);
        this.watch();
        this.pages(filter);
        return;
      }
      // A connection without subscription is of no use.
      this.close();
    }
  }

  // What came meanwhile may be more than one answer holds: goes back in time until an answer isn't full.
  async pages(filter) {
    let last = this.stored;
    while (last.count >= PAGE && this.live && !this.stopped) {
      const until = last.oldest;
      last = await this.page({ ...filter, until });
      if (last.oldest >= until) {
        return;
      }
    }
  }

  page(filter) {
    const page = { count: 0, oldest: Infinity };
    return new Promise((done) => {
      const finish = () => done(page);
      this.connection.request('page', [filter], {
        event: (text, at) => {
          tally(page, text);
          this.feed.received(text, at, this.had, true);
        },
        eose: () => {
          this.connection.unsubscribe('page');
          finish();
        },
        closed: finish,
        lost: finish,
      });
    });
  }

  // The newest that it saw, less what may come out of order.
  since() {
    let newest = this.filter.since;
    this.had.ever.forEach((had, nth) => {
      newest = had ? Math.max(newest, this.feed.times[nth]) : newest;
    });
    return Math.max(this.filter.since, newest - this.feed.disorder - OVERLAP_SECONDS);
  }

  stop() {
    this.stopped = true;
  }
}

// The publisher may lose its connection too: it comes back and sends again what wasn't acknowledged.
function keepPublishing(feed) {
  let stopped = false;
  let tries = 0;
  const watch = () => {
    if (!feed.publisher) {
      again();
      return;
    }
    feed.publisher.ended.then(() => {
      if (!stopped) {
        feed.publisher = null;
        again();
      }
    });
  };
  const again = async () => {
    await sleep(backoff(tries));
    tries += 1;
    try {
      feed.publisher = await Connection.open(config.urls[tries % config.urls.length]);
    } catch (error) {
      if (!stopped) {
        again();
      }
      return;
    }
    for (let nth = 0; nth < feed.next; nth += 1) {
      if (!feed.acked[nth]) {
        feed.send(nth);
      }
    }
    watch();
  };
  watch();
  return {
    settle: async (until) => {
      while (feed.unacked() > 0 && Date.now() < until) {
        await sleep(50);
      }
    },
    stop: () => {
      stopped = true;
    },
  };
}
