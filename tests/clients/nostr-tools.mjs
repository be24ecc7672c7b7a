// Publishes, queries, counts, authenticates and subscribes with nostr-tools.
// usage: node nostr-tools.mjs ws://HOST:PORT   (exit code 0 if all of it works)
import assert from 'node:assert/strict'
import { finalizeEvent, generateSecretKey, getPublicKey, verifyEvent } from 'nostr-tools/pure'
import { Relay, useWebSocketImplementation } from 'nostr-tools/relay'
import { SimplePool, useWebSocketImplementation as usePoolWebSocket } from 'nostr-tools/pool'
import { fetchRelayInformation } from 'nostr-tools/nip11'
import WebSocket from 'ws'

useWebSocketImplementation(WebSocket)
usePoolWebSocket(WebSocket)

const url = process.argv[2]
const now = Math.floor(Date.now() / 1000)
const [alice, bob] = [generateSecretKey(), generateSecretKey()]
const [alicePublic, bobPublic] = [getPublicKey(alice), getPublicKey(bob)]
const sign = (key, event) => finalizeEvent({ created_at: now, kind: 1, tags: [], content: '', ...event }, key)

// Every wait is bounded: the library's own time-outs are for people.
const DEADLINE_MS = 20_000
const within = (what, promise) => {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing after ${DEADLINE_MS} ms`)), DEADLINE_MS)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// The stored answer to `filters`; resolves at EOSE, rejects on CLOSED.
const stored = (relay, filters) => within('EOSE', new Promise((resolve, reject) => {
  const events = []
  const subscription = relay.subscribe(filters, {
    onevent: event => events.push(event),
    oneose: () => { resolve(events); subscription.close() },
    onclose: reason => reject(new Error(reason)),
    eoseTimeout: DEADLINE_MS,
  })
}))

const steps = {
  async publish(relay) {
    for (const content of ['one', 'two', 'drei: äöü 😀 "quoted" \\ \n\t']) {
      await within('OK', relay.publish(sign(alice, { content, tags: [['t', 'nostr-tools']] })))
    }
    const forged = { ...sign(alice, { content: 'three' }), content: 'four' }
    await assert.rejects(within('OK', relay.publish(forged)), /^Error: invalid: /)
  },

  async query(relay) {
    const events = await stored(relay, [{ authors: [alicePublic], kinds: [1] }])
    assert.deepEqual(events.map(event => event.content).sort(), ['drei: äöü 😀 "quoted" \\ \n\t', 'one', 'two'])
    assert.ok(events.every(verifyEvent))
    assert.equal((await stored(relay, [{ '#t': ['nostr-tools'], limit: 2 }])).length, 2)
    assert.equal((await stored(relay, [{ authors: [bobPublic] }])).length, 0)
  },

  async count(relay) {
    assert.equal(await within('COUNT', relay.count([{ authors: [alicePublic] }], {})), 3)
  },

  async subscribe(relay) {
    const other = await within('connect', Relay.connect(url))
    const event = sign(bob, { content: 'live' })
    const received = new Promise((resolve, reject) => {
      const subscription = other.subscribe([{ authors: [bobPublic] }], {
        onevent: got => { resolve(got); subscription.close() },
        oneose: () => relay.publish(event).catch(reject),
        onclose: reason => reject(new Error(reason)),
        eoseTimeout: DEADLINE_MS,
      })
    })
    assert.equal((await within('EVENT', received)).id, event.id)
    other.close()
  },

  async authenticate(relay) {
    const secret = sign(bob, { content: 'only from its author', tags: [['-']] })
    await assert.rejects(within('OK', relay.publish(secret)), /^Error: auth-required: /)
    await within('OK', relay.auth(async template => finalizeEvent(template, bob)))
    await within('OK', relay.publish(secret))
    const wrapped = sign(generateSecretKey(), { kind: 1059, tags: [['p', bobPublic]], content: 'wrapped' })
    await within('OK', relay.publish(wrapped))
    assert.equal((await stored(relay, [{ kinds: [1059], '#p': [bobPublic] }])).length, 1)
  },

  async pool() {
    const pool = new SimplePool()
    const events = await within('query', pool.querySync([url], { authors: [alicePublic], kinds: [1] }))
    assert.equal(events.length, 3)
    const one = await within('get', pool.get([url], { ids: [events[0].id] }))
    assert.equal(one.id, events[0].id)
    pool.close([url])
  },

  async information() {
    const document = await within('document', fetchRelayInformation(url))
    assert.ok(document.supported_nips.includes(42))
  },
}

const relay = await within('connect', Relay.connect(url))
for (const [name, step] of Object.entries(steps)) {
  await step(relay)
  console.log(`nostr-tools: ${name}`)
}
relay.close()
process.exit(0)
