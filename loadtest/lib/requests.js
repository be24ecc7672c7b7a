// REQs as clients send them: a template of filters.json by its share, filled from the corpus.

import { about, addresses, authors, ids, mentioned, notes, topics } from './corpus.js';
import { popular, spread } from './random.js';

const { templates } = JSON.parse(open(import.meta.resolve('../filters.json')));

const whole = templates.reduce((sum, template) => sum + template.share, 0);

/** Values in one filter at most, below what any relay refuses. */
const FOLLOWS_MOST = 500;

/** The next REQ: `{template, filters}`. */
export function nextRequest(next) {
  let at = next() * whole;
  const template = templates.find(({ share }) => {
    at -= share;
    return at < 0;
  }) || templates[0];
  const filling = new Filling(next);
  return { template, filters: template.filters.map((filter) => filling.filter(filter)) };
}

class Filling {
  constructor(next) {
    this.next = next;
    const author = pick(next, authors);
    const address = addresses.length > 0 ? pick(next, addresses) : [30_023, author, ''];
    const { oldest, newest } = about[0];
    const window = oldest + Math.floor(next() * (newest - oldest));
    this.one = {
      $me: pick(next, authors),
      $author: author,
      $mentioned: pick(next, mentioned),
      $root: pick(next, notes),
      $note: pick(next, notes),
      $address_kind: address[0],
      $address_author: address[1],
      $address_d: address[2],
      $address: address.join(':'),
      $window: window,
      $window_end: window + 7_200,
      $two_days: newest - 172_800,
    };
    // Six of ten start cold, the others saw something minutes to two days ago.
    this.since = next() < 0.4 ? newest - Math.floor(spread(next, 3_600, 90_000)) : null;
  }

  filter(template) {
    const filled = {};
    for (const [name, value] of Object.entries(template)) {
      if (value === '$since?') {
        if (this.since !== null) {
          filled[name] = this.since;
        }
      } else {
        filled[name] = this.value(value);
      }
    }
    return filled;
  }

  value(value) {
    if (Array.isArray(value)) {
      return value.map((one) => this.value(one));
    }
    if (typeof value !== 'string' || !value.startsWith('$')) {
      return value;
    }
    return value in this.one ? this.one[value] : this.many(value);
  }

  many(name) {
    const { next } = this;
    switch (name) {
      case '$follows':
        return several(next, authors, Math.min(FOLLOWS_MOST, spread(next, 20, 150)));
      case '$authors':
        return several(next, authors, Math.min(100, spread(next, 12, 80)));
      case '$notes':
        return several(next, notes, Math.min(60, spread(next, 20, 45)));
      case '$ids':
        return this.ids();
      case '$topics': {
        const topic = pick(next, topics);
        return [...new Set([topic, topic.toLowerCase(), topic.toUpperCase()])];
      }
      default:
        throw new Error(`filters.json: nothing fills ${name}`);
    }
  }

  // One id in six of ten REQs, up to twenty in three, a hundred in one; some are unknown to the relay.
  ids() {
    const { next } = this;
    const lot = next();
    const count = lot < 0.6 ? 1 : lot < 0.9 ? 2 + Math.floor(next() * 19) : 100;
    return several(next, ids, count).map((id) => (next() < 0.15 ? unknown(next) : id));
  }
}

const pick = (next, list) => list[popular(next, list.length)];

function several(next, list, count) {
  const chosen = new Set();
  for (let tries = 0; chosen.size < Math.min(count, list.length) && tries < count * 4; tries += 1) {
    chosen.add(pick(next, list));
  }
  return [...chosen];
}

function unknown(next) {
  let id = '';
  while (id.length < 64) {
    id += Math.floor(next() * 0x1_0000_0000).toString(16).padStart(8, '0');
  }
  return id;
}
