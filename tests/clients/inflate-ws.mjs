// Reads compressed messages with the npm package ws, for every offer that it can make.
// usage: node inflate-ws.mjs ws://HOST:PORT < EVENTS   (a JSON report on the standard output)
import WebSocket from 'ws'
import { DEADLINE_MS, events, exchange } from './inflate.mjs'

const offers = []
for (const serverNoContextTakeover of [undefined, true]) {
  for (const clientNoContextTakeover of [undefined, true]) {
    for (const serverMaxWindowBits of [undefined, 8, 9, 12, 15]) {
      for (const clientMaxWindowBits of [undefined, 9, 15]) {
        offers.push({ serverNoContextTakeover, clientNoContextTakeover, serverMaxWindowBits, clientMaxWindowBits })
      }
    }
  }
}

const open = offer => new WebSocket(process.argv[2], { perMessageDeflate: { ...offer, threshold: 0 } })
// Read first: a socket that opens before anybody listens would be waited for in vain.
const input = await events()
const report = await exchange(offers.map(open), input, DEADLINE_MS)
// A pipe takes it piece by piece.
process.stdout.write(JSON.stringify(report), () => process.exit(0))
