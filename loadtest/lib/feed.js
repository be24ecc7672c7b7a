// One publisher and its subscribers in one virtual user: the stamp of each event lies in a map that
// only this script's runtime sees, so a delivery's latency is from the publisher's own clock to the
// reading of the subscriber's socket, without any clock of the relay and without a stamp in the event.
//
// In fan_out every user's subscribers ask for the events of all users (`window`), so that with v users
// of k subscribers each event goes to v * k of them; each user measures those of its own events.

import { Connection, attempt, eventId, sleep } from './client.js';
import { LIVE_KINDS, idOf } from './corpus.js';
import { metrics } from './metrics.js';
import { JOIN_SECONDS } from './options.js';

/** Subscribers that connect at a time. */
const JOIN_AT_ONCE = 20;

/** How long an OK or a delivery may be waited for after the last event, in milliseconds. */
export const SETTLE_MS = 8_000;

/** How long a subscription may take to its EOSE, in milliseconds. */
const EOSE_MS = 10_000;

export class Feed {
  /** `lines` are the events; `deliver(latency, nth)` is called for every first delivery. */
  constructor({ lines, window, publishUrl, readUrls, deliver, duplicate, subscriber = Subscriber }) {
    this.lines = lines;
    this.publishUrl = publishUrl;
    this.readUrls = readUrls;
    this.deliver = deliver;
    this.duplicate = duplicate;
    this.make = (...given) => new subscriber(...given);
    this.nth = new Map(lines.map((line, nth) => [idOf(line), nth]));
    this.times = lines.map((line) => Number(/"created_at":(\d+)/.exec(line)[1]));
    this.window = window || {
      since: this.times.reduce((least, time) => Math.min(least, time)),
      until: this.times.reduce((most, time) => Math.max(most, time)),
    };
    this.sent = new Float64Array(lines.length);
    this.acked = new Uint8Array(lines.length);
    this.next = 0;
    this.unanswered = 0;
    this.subscribers = [];
    this.publisher = null;
    this.okMs = null;
    this.left = false;
  }

  /** What subscribers ask for: the events of this span of time. */
  filter() {
    return { kinds: LIVE_KINDS, ...this.window, limit: 1 };
  }

  /**
   * Connects the publisher and this many subscribers, for `JOIN_SECONDS` at most. Who isn't there then
   * misses what is published.
   */
  async join(count) {
    const filter = this.filter();
    for (let nth = 0; nth < count; nth += 1) {
      this.subscribers.push(this.make(this, nth, filter));
    }
    let timer;
    let over = false;
    const late = new Promise((done) => {
      timer = setTimeout(() => {
        over = true;
        done();
      }, JOIN_SECONDS * 1000);
    });
    const everybody = async () => {
      this.publisher = await attempt(this.publishUrl);
      for (let nth = 0; nth < count && !over; nth += JOIN_AT_ONCE) {
        const batch = this.subscribers.slice(nth, nth + JOIN_AT_ONCE);
        await Promise.all(batch.map((subscriber) => subscriber.join()));
      }
    };
    await Promise.race([everybody(), late]);
    clearTimeout(timer);
    if (over) {
      console.error(`${this.subscribers.filter(({ live }) => !live).length} of ${count} subscribers weren't there after ${JOIN_SECONDS} s`);
    }
  }

  /** Publishes `rate` events a second by the clock until `seconds` are over or none is left. */
  async publish(rate, seconds) {
    const began = Date.now();
    const first = this.next;
    while (this.next < this.lines.length) {
      const due = ((this.next - first) * 1000) / rate;
      if (due >= seconds * 1000) {
        break;
      }
      await sleep(began + due - Date.now());
      metrics.generator_lag_ms.add(Math.max(0, Date.now() - began - due));
      this.send(this.next);
      this.next += 1;
    }
  }

  send(nth) {
    const line = this.lines[nth];
    if (this.sent[nth] === 0) {
      this.sent[nth] = Date.now();
    }
    if (!this.publisher) {
      return;
    }
    this.unanswered += 1;
    this.publisher.publish(line, idOf(line), (accepted, message, at) => {
      this.unanswered -= 1;
      if (accepted) {
        this.acked[nth] = 1;
        if (this.okMs) {
          this.okMs(Math.max(0, at - this.sent[nth]));
        }
      }
    });
  }

  /** An event came; `paged` if in a page of older ones, which may overlap with others and with what comes live. */
  received(text, at, had, paged = false) {
    const nth = this.nth.get(eventId(text));
    if (nth === undefined || this.sent[nth] === 0) {
      return;
    }
    if (!paged) {
      if (had.subscription[nth]) {
        this.duplicate();
        return;
      }
      had.subscription[nth] = 1;
    }
    if (!had.ever[nth]) {
      had.ever[nth] = 1;
      this.deliver(Math.max(0, at - this.sent[nth]), nth);
    }
  }

  /** Waits until everything acknowledged has come, or the time is over. */
  async settle(ms = SETTLE_MS) {
    const until = Date.now() + ms;
    while (Date.now() < until && (this.unanswered > 0 || this.missing() > 0)) {
      await sleep(50);
    }
  }

  /** Events that were sent and not acknowledged. */
  unacked() {
    return this.sent.reduce((sum, sent, nth) => sum + (sent > 0 && !this.acked[nth] ? 1 : 0), 0);
  }

  /** Deliveries of acknowledged events that didn't come. */
  missing() {
    let missing = 0;
    for (const { had } of this.subscribers) {
      for (let nth = 0; nth < this.next; nth += 1) {
        missing += this.acked[nth] && !had.ever[nth] ? 1 : 0;
      }
    }
    return missing;
  }

  delivered() {
    return this.subscribers.reduce(
      (sum, { had }) => sum + had.ever.reduce((count, one) => count + one, 0),
      0,
    );
  }

  leave() {
    this.left = true;
    [this.publisher, ...this.subscribers].forEach((one) => one && one.close());
  }
}

/** What stands for an excess that nobody could measure: over every limit. */
const UNMEASURED_MS = 3_600_000;

/**
 * How much later than a share above the baseline the 99th percentile is, in milliseconds; 0 if it
 * isn't. A share alone would call a millisecond more a failure where the baseline is two.
 */
export function excess(baseline, measured, share) {
  const p99 = (values) => [...values].sort((one, other) => one - other)[Math.floor(values.length * 0.99)];
  if (baseline.length === 0 || measured.length === 0) {
    return UNMEASURED_MS;
  }
  return Math.max(0, p99(measured) - (1 + share) * p99(baseline));
}

/** Counts a stored event and keeps the oldest time. */
export function tally(stored, text) {
  const found = /"created_at"\s*:\s*(\d+)/.exec(text);
  stored.count += 1;
  stored.oldest = Math.min(stored.oldest, found ? Number(found[1]) : Infinity);
}

export class Subscriber {
  constructor(feed, nth, filter) {
    this.feed = feed;
    this.nth = nth;
    this.filter = filter;
    this.connection = null;
    this.live = false;
    const length = feed.lines.length;
    this.had = { ever: new Uint8Array(length), subscription: new Uint8Array(length) };
  }

  url(offset = 0) {
    const urls = this.feed.readUrls;
    return urls[(this.nth + offset) % urls.length];
  }

  /** Connects and subscribes; resolves when the relay said EOSE, or it failed. */
  async join(url = this.url(), filter = this.filter) {
    try {
      this.connection = await Connection.open(url);
    } catch (error) {
      return false;
    }
    if (this.feed.left) {
      this.close();
      return false;
    }
    this.live = await this.subscribe(filter);
    return this.live;
  }

  subscribe(filter) {
    this.had.subscription.fill(0);
    this.stored = { count: 0, oldest: Infinity };
    const { stored } = this;
    let live = false;
    return new Promise((done) => {
      const timer = setTimeout(() => done(false), EOSE_MS);
      const finish = (joined) => {
        clearTimeout(timer);
        done(joined);
      };
      this.connection.request('feed', [filter], {
        event: (text, at) => {
          if (!live) {
            tally(stored, text);
          }
          this.feed.received(text, at, this.had);
        },
        eose: () => {
          live = true;
          finish(true);
        },
        closed: () => finish(false),
        lost: () => finish(false),
      });
    });
  }

  close() {
    if (this.connection) {
      this.connection.close();
    }
  }
}
