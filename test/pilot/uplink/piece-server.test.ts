import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, test } from 'node:test'
import { pino } from 'pino'
import { request } from 'undici'
import { createBundle } from '../../../src/bundle/create/create-bundle.ts'
import { fetchBundle } from '../../../src/bundle/download/fetch-bundle.ts'
import { openStore } from '../../../src/bundle/store/store.ts'
import { signTicket } from '../../../src/bundle/format/ticket.ts'
import { addressTowards, startPieceServer } from '../../../src/pilot/uplink/piece-server.ts'

const log = pino({ level: process.env['TEST_LOG'] ?? 'silent' })
const keys = generateKeyPairSync('ed25519')
const ticketKey = keys.publicKey.export({ type: 'spki', format: 'der' }).toString('base64')
const HOUR_MS = 3_600_000

/** A worker's store with one bundle, served to peers. */
async function startNode() {
  await using stack = new AsyncDisposableStack()
  const folder = await mkdtemp(path.join(tmpdir(), 'gleaner-peers-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  await writeFile(path.join(folder, 'weights.bin'), 'weights'.repeat(1000))
  const store = stack.use(await openStore({ folder: path.join(folder, 'store'), log }))
  const paths = [path.join(folder, 'weights.bin')]
  const { id } = await createBundle({ store, paths, kind: 'files' })
  const server = stack.use(await startPieceServer(store, 'http://127.0.0.1:9700', log))
  const resources = stack.move()
  return { folder, bundle: id, server, [Symbol.asyncDispose]: () => resources.disposeAsync() }
}

async function statusFor(node: { server: { url: string }; bundle: string }, ticket: string): Promise<number> {
  const headers = { authorization: `Bearer ${ticket}` }
  const { statusCode, body } = await request(`${node.server.url}/v1/pieces/${node.bundle}/manifest`, {
    headers,
  })
  await body.dump()
  return statusCode
}

describe('a worker serves its peers', () => {
  test('on its address on the way to the manager', async () => {
    assert.equal(await addressTowards('http://127.0.0.1:9700'), '127.0.0.1')
    assert.equal(await addressTowards('https://localhost'), '127.0.0.1')
    await using node = await startNode()
    assert.match(node.server.url, /^http:\/\/127\.0\.0\.1:\d+$/)
  })

  test('if they show a ticket of the manager', async () => {
    await using node = await startNode()
    const ticket = signTicket(keys.privateKey, { bundle: node.bundle, notAfter: Date.now() + HOUR_MS })
    assert.equal(await statusFor(node, ticket), 403, 'nobody is let in before the manager’s key is known')
    node.server.trust(ticketKey, Date.now())
    const store = await openStore({ folder: path.join(node.folder, 'other'), log })
    await fetchBundle({
      bundle: node.bundle,
      store,
      log,
      sources: () => Promise.resolve([{ name: 'w1', kind: 'peer', url: node.server.url, ticket }]),
      signal: AbortSignal.timeout(180_000),
    })
    await using held = await store.hold(node.bundle)
    assert.equal(await readFile(path.join(held!.folder, 'weights.bin'), 'utf8'), 'weights'.repeat(1000))
    await store[Symbol.asyncDispose]()
  })

  test('and cuts off who sends too slowly', { timeout: 180_000 }, async () => {
    await using node = await startNode()
    const { hostname, port } = new URL(node.server.url)
    const slow = connect(Number(port), hostname)
    slow.write('GET / HTTP/1.1\r\n')
    slow.resume()
    await once(slow, 'close')
  })

  test('by the manager’s clock, whatever its own shows', async () => {
    await using node = await startNode()
    const managerNow = Date.now() - HOUR_MS
    node.server.trust(ticketKey, managerNow)
    const ticketUntil = (notAfter: number) => signTicket(keys.privateKey, { bundle: node.bundle, notAfter })
    assert.equal(await statusFor(node, ticketUntil(managerNow + 60_000)), 200)
    assert.equal(await statusFor(node, ticketUntil(managerNow - 60_000)), 403)
  })
})
