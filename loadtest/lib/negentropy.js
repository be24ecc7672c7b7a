// As much of the sync protocol (negentropy v1, NIP-77) as a client needs that knows a set of at most
// a few hundred events: it sends the ids that it has, and reads the ids that the relay has.

/** Version 1 of the protocol. */
const VERSION = '61';

const MODES = { skip: 0, fingerprint: 1, ids: 2 };

function varint(value) {
  const bytes = [value & 0x7f];
  let rest = Math.floor(value / 128);
  while (rest > 0) {
    bytes.unshift((rest & 0x7f) | 0x80);
    rest = Math.floor(rest / 128);
  }
  return bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** The first message: one range over everything, with these ids. */
export function initial(ids) {
  return `${VERSION}${varint(0)}${varint(0)}${varint(MODES.ids)}${varint(ids.length)}${ids.join('')}`;
}

class Reader {
  constructor(hex) {
    this.hex = hex;
    this.at = 0;
  }

  get done() {
    return this.at >= this.hex.length;
  }

  take(bytes) {
    const end = this.at + 2 * bytes;
    if (end > this.hex.length) {
      throw new Error('the message is cut');
    }
    const taken = this.hex.slice(this.at, end);
    this.at = end;
    return taken;
  }

  varint() {
    let value = 0;
    for (;;) {
      const byte = parseInt(this.take(1), 16);
      value = value * 128 + (byte & 0x7f);
      if (byte < 128) {
        return value;
      }
    }
  }
}

/**
 * The ids that the relay's answer lists. It lists all that it has in a range whose ids it was sent;
 * a fingerprint means that it split the range, which a set of this size gives no reason for.
 */
export function listed(hex) {
  const reader = new Reader(hex);
  if (reader.take(1) !== VERSION) {
    throw new Error('another version of the protocol');
  }
  const ids = [];
  while (!reader.done) {
    reader.varint();
    reader.take(reader.varint());
    const mode = reader.varint();
    if (mode === MODES.ids) {
      const count = reader.varint();
      for (let nth = 0; nth < count; nth += 1) {
        ids.push(reader.take(32));
      }
    } else if (mode !== MODES.skip) {
      throw new Error(`mode ${mode} instead of ids`);
    }
  }
  return ids;
}
