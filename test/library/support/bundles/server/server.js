/* A small server, as tests start it: node server.js PORT-OR-SOCKET [HOW [FILE]]. */
import console from 'node:console'
import { appendFileSync, existsSync } from 'node:fs'
import { createServer } from 'node:http'
import process from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import { json } from 'node:stream/consumers'

const [port, how, file] = process.argv.slice(2)
const key = process.env.SERVER_KEY
const bornAt = Date.now()
let running = 0
let most = 0
let waited = 0

if (how === 'fail') {
  console.error('there is no model')
  process.exit(3)
}
if (how === 'stubborn') process.on('SIGTERM', () => {})
if (how === 'late') {
  appendFileSync(file, `${port}\n`)
  while (!existsSync(`${file}.go`)) await delay(10)
}

const routes = {
  'GET /health': () => [how !== 'sick' && Date.now() - bornAt > 150 ? 200 : 503],
  'POST /add': ({ n }) =>
    typeof n === 'number' ? [200, { sum: [100 + n] }] : [422, `n is "${n}", not a number`],
  'POST /echo': (body) => [200, { echo: body }],
  'PUT /items/a%20%2F%20b': (body) => [200, { put: body }],
  'DELETE /items/a': () => [204],
  'GET /argv': () => [200, { argv: process.argv }],
  'GET /most': () => [200, { most }],
  /** Answers once so many requests have run at once, and so many of its own kind were answered. */
  'POST /wait': async ({ together, others }) => {
    while (most < together || waited < others) await delay(5)
    waited++
    return [200, { together, others }]
  },
  'POST /text': () => [200, 'just text'],
  'POST /large': ({ bytes }) => [200, 'x'.repeat(bytes)],
  'POST /break': (_body, socket) => socket.destroy(),
  'POST /hang': () => new Promise(() => {}),
  'POST /exit': ({ code }) => process.exit(code),
  'POST /kill': ({ signal }) => process.kill(process.pid, signal),
}

createServer(async (request, response) => {
  const name = `${request.method} ${request.url}`
  if (name !== 'GET /health') console.log(name)
  most = Math.max(most, ++running)
  const body = request.headers['content-length'] ? await json(request) : undefined
  const known = key === undefined || request.headers.authorization === `Bearer ${key}`
  const answer = !known
    ? [401, 'who are you?']
    : await (routes[name]?.(body, request.socket) ?? [404, `there is no ${name}`])
  running--
  if (!answer?.[0]) return
  response.statusCode = answer[0]
  response.end(typeof answer[1] === 'object' ? JSON.stringify(answer[1]) : answer[1])
}).listen(port.includes('/') ? { path: port } : { port: Number(port), host: '127.0.0.1' })
