// One connection to a relay, on k6/websockets. Nothing here waits for an answer before it sends the
// next message; stamps of received messages are taken where the socket is read, not when a handler's
// turn comes.

import { WebSocket } from 'k6/websockets';

/** How long a handshake may take, in milliseconds. */
export const CONNECT_MS_MAX = 10_000;

export const sleep = (ms) => new Promise((done) => setTimeout(done, Math.max(0, ms)));

/** The id of the event in a relay message. A quote within a string is escaped, so the first is it. */
export function eventId(text) {
  const found = /"id"\s*:\s*"/.exec(text);
  return found ? text.slice(found.index + found[0].length, found.index + found[0].length + 64) : '';
}

export class Connection {
  constructor(url) {
    this.url = url;
    this.state = 'connecting';
    /** By subscription id: `{event(text, at), eose(at), closed(message, at), count(body, at)}`. */
    this.subscriptions = new Map();
    /** By event id: functions `(accepted, message, at)`, in the order of sending. */
    this.waiting = new Map();
    this.notices = 0;
    this.lastNotice = '';
    this.challenge = null;
    this.onNotice = null;
    this.onChallenge = null;
    this.onNegentropy = null;
    this.ended = new Promise((done) => {
      this.end = done;
    });
  }

  /**
   * Opens a connection; resolves to it, or rejects with the reason. `ms` is how long it took. Nobody
   * tells whether an address failed or is slow, so both are failures.
   */
  static open(url, ms = CONNECT_MS_MAX) {
    const connection = new Connection(url);
    return new Promise((done, failed) => {
      const started = Date.now();
      const timer = setTimeout(() => {
        connection.close();
        failed(new Error(`no handshake within ${ms} ms`));
      }, ms);
      const socket = new WebSocket(url);
      connection.socket = socket;
      socket.onopen = (event) => {
        clearTimeout(timer);
        if (connection.state === 'closed') {
          socket.close();
          return;
        }
        connection.state = 'open';
        connection.ms = Math.max(0, event.timestamp - started);
        done(connection);
      };
      socket.onmessage = (event) => connection.receive(event.data, event.timestamp);
      socket.onerror = (event) => {
        clearTimeout(timer);
        connection.lost(event.error);
        failed(new Error(event.error));
      };
      socket.onclose = (event) => {
        clearTimeout(timer);
        connection.lost(event.code);
        failed(new Error('closed during the handshake'));
      };
    });
  }

  get open() {
    return this.state === 'open';
  }

  lost(reason) {
    if (this.state === 'closed') {
      return;
    }
    this.state = 'closed';
    const waiting = [...this.waiting.values()].flat();
    this.waiting.clear();
    waiting.forEach((answer) => answer(null, 'connection lost', Date.now()));
    const subscriptions = [...this.subscriptions.values()];
    this.subscriptions.clear();
    subscriptions.forEach((handlers) => handlers.lost && handlers.lost());
    this.end(reason);
  }

  /** Sends text; `false` if the connection is gone. */
  send(text) {
    if (this.state !== 'open') {
      return false;
    }
    try {
      this.socket.send(text);
      return true;
    } catch (error) {
      return false;
    }
  }

  /** Publishes an event's line; `answer(accepted, message, at)` comes once, `null` if it is lost. */
  publish(line, id, answer) {
    const queue = this.waiting.get(id);
    if (queue) {
      queue.push(answer);
    } else {
      this.waiting.set(id, [answer]);
    }
    if (!this.send(`["EVENT",${line}]`)) {
      this.forget(id, answer);
      answer(null, 'connection lost', Date.now());
    }
  }

  forget(id, answer) {
    const queue = (this.waiting.get(id) || []).filter((other) => other !== answer);
    if (queue.length > 0) {
      this.waiting.set(id, queue);
    } else {
      this.waiting.delete(id);
    }
  }

  /** Opens a subscription, or with verb COUNT asks a question. */
  request(id, filters, handlers, verb = 'REQ') {
    this.subscriptions.set(id, handlers);
    if (!this.send(JSON.stringify([verb, id, ...filters]))) {
      this.subscriptions.delete(id);
      if (handlers.lost) {
        handlers.lost();
      }
    }
  }

  /** Ends a subscription. */
  unsubscribe(id) {
    if (this.subscriptions.delete(id)) {
      this.send(JSON.stringify(['CLOSE', id]));
    }
  }

  receive(text, at) {
    if (text.startsWith('["EVENT","')) {
      const handlers = this.subscriptions.get(text.slice(10, text.indexOf('"', 10)));
      if (handlers && handlers.event) {
        handlers.event(text, at);
      }
      return;
    }
    let message;
    try {
      message = JSON.parse(text);
    } catch (error) {
      return;
    }
    this.dispatch(message, text, at);
  }

  dispatch(message, text, at) {
    const [verb, id, body, more] = message;
    const handlers = this.subscriptions.get(id);
    switch (verb) {
      case 'OK': {
        const queue = this.waiting.get(id);
        if (queue) {
          const answer = queue.shift();
          if (queue.length === 0) {
            this.waiting.delete(id);
          }
          answer(body, more || '', at);
        }
        break;
      }
      case 'EVENT':
        if (handlers && handlers.event) {
          handlers.event(text, at);
        }
        break;
      case 'EOSE':
        if (handlers && handlers.eose) {
          handlers.eose(at);
        }
        break;
      case 'COUNT':
        if (handlers && handlers.count) {
          handlers.count(body, at);
        }
        break;
      case 'CLOSED':
        this.subscriptions.delete(id);
        if (handlers && handlers.closed) {
          handlers.closed(body || '', at);
        }
        break;
      case 'NOTICE':
        this.notices += 1;
        this.lastNotice = id;
        if (this.onNotice) {
          this.onNotice(id, at);
        }
        break;
      case 'AUTH':
        this.challenge = id;
        if (this.onChallenge) {
          this.onChallenge(id, at);
        }
        break;
      case 'NEG-MSG':
      case 'NEG-ERR':
        if (this.onNegentropy) {
          this.onNegentropy(verb, id, body || '', at);
        }
        break;
      default:
    }
  }

  /** Closes the connection; what was waited for is lost. */
  close() {
    if (this.state !== 'closed' && this.socket) {
      try {
        this.socket.close();
      } catch (error) {
        // It wasn't open yet; `onopen` closes it.
      }
    }
    this.lost('closed here');
  }
}

/** Opens a connection and counts it in; `null` if it failed. */
export async function attempt(url) {
  try {
    return await Connection.open(url);
  } catch (error) {
    return null;
  }
}
