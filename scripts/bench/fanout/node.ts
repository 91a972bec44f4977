import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdir, open, rm } from 'node:fs/promises'
import path from 'node:path'
import fastify from 'fastify'
import { pino } from 'pino'
import { request } from 'undici'
import { createBundle } from '../../../src/bundle/create/create-bundle.ts'
import { fetchBundle } from '../../../src/bundle/download/fetch-bundle.ts'
import { servePieces } from '../../../src/bundle/upload/piece-routes.ts'
import { openStore } from '../../../src/bundle/store/store.ts'
import type { Store } from '../../../src/bundle/store/store.ts'
import { signTicket, TicketChecker } from '../../../src/bundle/format/ticket.ts'
import { noteAccusation, createPeerTable, noteHolder, peersFor } from '../../../src/core/peer-selection.ts'
import { pathOf } from '../../../src/protocol/routes/route.ts'
import { workerRoutes } from '../../../src/protocol/routes/worker-routes.ts'
import { SourcesRequest, SourcesResponse } from '../../../src/protocol/piece-sources.ts'
import type { Source } from '../../../src/protocol/piece-sources.ts'
import { corrupted } from './corrupting-store.ts'
import type { Answer, Order } from './messages.ts'

/*
 * One node of the benchmark, a process of its own: the manager, which also names sources as the real one does, or a worker.
 */

const FETCH_MS = 120_000
const TICKET_MS = 300_000
const MIB = 1 << 20

const say = (answer: Answer) => process.send!(answer)
const log = pino({ level: 'error' }, pino.destination(2))
const server = fastify({ forceCloseConnections: true })
const keys = generateKeyPairSync('ed25519')
let name: string
let folder: string
let store: Store
let url: string
let trusted: TicketChecker | undefined
/** The manager's: where workers serve, and who is to be named for the bundle. */
const urls = new Map<string, string>()
let known = createPeerTable()

const handlers: { [T in Order['type']]: (order: Extract<Order, { type: T }>) => Promise<void> | void } = {
  async open({ address, corrupt, ...order }) {
    name = order.name
    folder = order.folder
    store = await openStore({ folder: path.join(folder, 'store'), log })
    await server.register(servePieces, {
      store: corrupt ? corrupted(store) : store,
      authorise: (ticket, bundle) => trusted?.isGood(ticket, bundle, Date.now()) ?? false,
    })
    server.post<{ Params: { worker: string } }>(workerRoutes.sources.path, ({ params, body }) => ({
      sources: nameSources(params.worker, SourcesRequest.parse(body)),
    }))
    url = await server.listen({ host: address, port: 0 })
    say({ type: 'opened', url })
  },

  async create({ bytes }) {
    const source = path.join(folder, 'source')
    await mkdir(source, { recursive: true })
    const file = await open(path.join(source, 'weights.bin'), 'w')
    for (let left = bytes; left > 0; left -= MIB) await file.write(randomBytes(Math.min(left, MIB)))
    await file.close()
    const { id } = await createBundle({ store, paths: [source], kind: 'files' })
    await rm(source, { recursive: true })
    trusted = new TicketChecker(keys.publicKey)
    const key = keys.publicKey.export({ type: 'spki', format: 'der' }).toString('base64')
    say({ type: 'created', bundle: id, key })
  },

  workers({ workers }) {
    urls.clear()
    for (const worker of workers) urls.set(worker.name, worker.url)
    known = createPeerTable()
  },

  trust({ key }) {
    trusted = new TicketChecker(
      createPublicKey({ key: Buffer.from(key, 'base64'), format: 'der', type: 'spki' }),
    )
    say({ type: 'trusted' })
  },

  async fetch({ bundle, manager }) {
    let told = 0
    const before = process.cpuUsage()
    const report = await fetchBundle({
      bundle,
      store,
      log,
      signal: AbortSignal.timeout(FETCH_MS),
      sources: (asked) => askSources(manager, asked),
      onProgress(held, total) {
        const tenths = Math.floor((held / total) * 10)
        if (tenths === told) return
        told = tenths
        say({ type: 'progress', share: held / total })
      },
    })
    const { user, system } = process.cpuUsage(before)
    say({ type: 'fetched', at: Date.now(), report, cpuMs: (user + system) / 1000 })
  },
}

/** The manager names itself and peers chosen as the real one chooses them. */
function nameSources(worker: string, { bundle, faults }: SourcesRequest): Source[] {
  for (const { source, reason } of faults) if (reason === 'corrupt') noteAccusation(known, source, worker)
  const ticket = signTicket(keys.privateKey, { bundle, notAfter: Date.now() + TICKET_MS })
  for (const other of urls.keys()) noteHolder(known, other, bundle)
  const left = new Set(faults.map(({ source }) => source))
  const peers = peersFor(known, worker, bundle, left, Math.random)
  return [
    { name: 'manager', url, ticket, kind: 'manager' },
    ...peers.map((other): Source => ({ name: other, url: urls.get(other)!, ticket, kind: 'peer' })),
  ]
}

async function askSources(manager: string, asked: SourcesRequest): Promise<Source[]> {
  const { body } = await request(manager + pathOf(workerRoutes.sources, { params: { worker: name } }), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(asked),
  })
  return SourcesResponse.parse(await body.json()).sources
}

process.on('message', (order: Order) => {
  const handle = handlers[order.type] as (order: Order) => Promise<void> | void
  Promise.resolve(handle(order)).catch((error: unknown) => say({ type: 'failed', message: String(error) }))
})
process.on('disconnect', () => process.exit())
