// Reads compressed messages in Chromium, which offers what every browser built on it does.
// usage: node inflate-chromium.mjs ws://HOST:PORT CHROMIUM < EVENTS   (a JSON report on the standard output)
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DEADLINE_MS, events, exchange } from './inflate.mjs'

const CONNECTIONS = 4
const [url, chromium] = process.argv.slice(2)
const profile = mkdtempSync(join(tmpdir(), 'chromium-'))
// It ends when the pipe does, however this process ends.
const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-proxy-server', '--remote-debugging-pipe']
const browser = spawn(chromium, [...flags, `--user-data-dir=${profile}`, 'about:blank'], {
  stdio: ['ignore', 'ignore', 'inherit', 'pipe', 'pipe'],
})
const [, , , requests, answers] = browser.stdio
const waiting = new Map()
let unread = ''
answers.setEncoding('utf8')
answers.on('data', chunk => {
  const messages = (unread + chunk).split('\0')
  unread = messages.pop()
  for (const message of messages.map(text => JSON.parse(text))) {
    const { resolve, reject } = waiting.get(message.id) ?? { resolve: () => {}, reject: () => {} }
    message.error ? reject(new Error(message.error.message)) : resolve(message.result)
  }
})
browser.on('exit', code => waiting.forEach(({ reject }) => reject(new Error(`Chromium ended: ${code}`))))

// Calls a method of the DevTools protocol.
const call = (method, params = {}, sessionId = undefined) => new Promise((resolve, reject) => {
  const id = waiting.size + 1
  waiting.set(id, { resolve, reject })
  requests.write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
  setTimeout(() => reject(new Error(`${method}: no answer`)), 3 * DEADLINE_MS).unref()
})

const { targetId } = await call('Target.createTarget', { url: 'about:blank' })
const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true })
const sockets = `Array.from({ length: ${CONNECTIONS} }, () => new WebSocket(${JSON.stringify(url)}))`
const expression = `(${exchange})(${sockets}, ${JSON.stringify(await events())}, ${DEADLINE_MS})`
const evaluation = { expression, awaitPromise: true, returnByValue: true }
const { result, exceptionDetails } = await call('Runtime.evaluate', evaluation, sessionId)
if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text)
const ended = new Promise(resolve => browser.on('exit', resolve))
requests.end()
await ended
rmSync(profile, { recursive: true, force: true })
// A pipe takes it piece by piece.
process.stdout.write(JSON.stringify(result.value), () => process.exit(0))
