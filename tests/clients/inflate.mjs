// What the scripts inflate-*.mjs have in common: what is done on every connection, and the report.

// Every wait is bounded; a relay that says nothing fails the script.
export const DEADLINE_MS = 60_000

// The events to publish, one a line.
export const events = async () => {
  let text = ''
  for await (const chunk of process.stdin) text += chunk
  return text.split('\n').filter(line => line !== '')
}

// Subscribes on every socket, publishes the events over the first one after the other, and asks for what is
// stored. Returns what came as it came: for each socket { extensions, live, stored }. Runs in Node and in a
// browser, so it uses nothing from outside.
export const exchange = async (sockets, events, deadlineMs) => {
  const readers = sockets.map(socket => {
    const reader = { texts: [], wake: () => {}, failed: null }
    socket.onmessage = ({ data }) => { reader.texts.push(data); reader.wake() }
    socket.onclose = ({ code, reason }) => { reader.failed = `closed: ${code} ${reason}`; reader.wake() }
    return reader
  })
  const opened = socket => new Promise((resolve, reject) => {
    socket.onopen = resolve
    setTimeout(() => reject(new Error('not open in time')), deadlineMs)
    socket.onerror = () => reject(new Error('not connected'))
  })
  // Takes texts up to the first for which `isLast` holds.
  const upTo = async (reader, isLast) => {
    const taken = []
    const late = Date.now() + deadlineMs
    for (;;) {
      while (reader.texts.length > 0) {
        taken.push(reader.texts.shift())
        if (isLast(taken[taken.length - 1])) return taken
      }
      if (reader.failed !== null) throw new Error(reader.failed)
      if (Date.now() > late) throw new Error(`nothing more after ${taken[taken.length - 1]}`)
      await new Promise(resolve => { reader.wake = resolve; setTimeout(resolve, 1_000) })
    }
  }
  const isEose = sub => text => text.startsWith(`["EOSE","${sub}"`)
  const ofSubscription = (texts, sub) => texts.filter(text => text.startsWith(`["EVENT","${sub}",`))

  await Promise.all(sockets.map(opened))
  for (const [nth, socket] of sockets.entries()) {
    socket.send('["REQ","live",{"kinds":[1],"limit":0}]')
    await upTo(readers[nth], isEose('live'))
  }
  const live = sockets.map(() => [])
  for (const event of events) {
    sockets[0].send(`["EVENT",${event}]`)
    const id = JSON.parse(event).id
    const isDelivered = text => text.startsWith('["EVENT","live",') && text.includes(`"id":"${id}"`)
    for (const [nth, reader] of readers.entries()) {
      live[nth].push(...ofSubscription(await upTo(reader, isDelivered), 'live'))
    }
  }
  const report = []
  for (const [nth, socket] of sockets.entries()) {
    socket.send('["REQ","stored",{"kinds":[1]}]')
    const stored = ofSubscription(await upTo(readers[nth], isEose('stored')), 'stored')
    report.push({ extensions: socket.extensions, live: live[nth], stored })
  }
  sockets.forEach(socket => socket.close())
  return report
}
