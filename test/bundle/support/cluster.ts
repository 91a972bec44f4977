import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import pino from 'pino'
import type { StoredPieces } from '../../../src/bundle/store/stored-pieces.ts'
import { servePieces } from '../../../src/bundle/upload/piece-routes.ts'
import type { ServePiecesOptions } from '../../../src/bundle/upload/piece-routes.ts'
import { openStore } from '../../../src/bundle/store/store.ts'
import type { Store } from '../../../src/bundle/store/store.ts'
import { signTicket, TicketChecker } from '../../../src/bundle/format/ticket.ts'
import type { Source } from '../../../src/protocol/piece-sources.ts'

export const log = pino({ level: process.env.TEST_LOG ?? 'silent' })
export const keys = generateKeyPairSync('ed25519')
const checker = new TicketChecker(keys.publicKey)

/** A new folder that is gone when disposed of. */
export async function temporaryFolder(): Promise<AsyncDisposable & { folder: string }> {
  const folder = await mkdtemp(path.join(tmpdir(), 'gleaner-bundle-'))
  return { folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) }
}

/** Writes files, folders made as needed. A number stands for so many random bytes. */
export async function writeTree(
  folder: string,
  files: Record<string, string | Buffer | number>,
): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(folder, name)
    await mkdir(path.dirname(file), { recursive: true })
    await writeFile(file, typeof content === 'number' ? randomBytes(content) : content)
  }
}

export function ticketFor(bundle: string, notAfter = Date.now() + 60_000): string {
  return signTicket(keys.privateKey, { bundle, notAfter })
}

/** A store with a server for its pieces, in this process. */
export type Node = AsyncDisposable & { store: Store; server: FastifyInstance; url: string }

/**
 * @param intercept sees all that is read to be served, before it leaves; to spoil it or hold it up.
 * @param mostLeaving as for `servePieces`
 */
export async function startNode(
  folder: string,
  intercept: (data: Buffer) => Promise<Buffer> | Buffer = (data) => data,
  mostLeaving = 64,
): Promise<Node> {
  const store = await openStore({ folder, log })
  const server = fastify({ forceCloseConnections: true, logger: { level: process.env.TEST_LOG ?? 'silent' } })
  const authorise: ServePiecesOptions['authorise'] = (ticket, bundle) =>
    checker.isGood(ticket, bundle, Date.now())
  await server.register(servePieces, { store: intercepting(store, intercept), authorise, mostLeaving })
  const url = await server.listen({ host: '127.0.0.1', port: 0 })
  return {
    store,
    server,
    url,
    async [Symbol.asyncDispose]() {
      await server.close()
      await store[Symbol.asyncDispose]()
    },
  }
}

function intercepting(store: Store, intercept: (data: Buffer) => Promise<Buffer> | Buffer): Store {
  const known = new WeakMap<StoredPieces, StoredPieces>()
  const wrap = (pieces: StoredPieces | undefined): StoredPieces | undefined => {
    if (!pieces) return undefined
    const read: StoredPieces['read'] = async (...args) => intercept(await pieces.read(...args))
    const wrapped = known.get(pieces) ?? { ...pieces, read }
    known.set(pieces, wrapped)
    return wrapped
  }
  return {
    ...store,
    pieces: async (bundle) => wrap(await store.pieces(bundle)),
    awaitPieces: async (...args) => wrap(await store.awaitPieces(...args)),
  }
}

export function sourceOf(name: string, node: { url: string }, bundle: string): Source {
  return {
    name,
    url: node.url,
    ticket: ticketFor(bundle),
    kind: name === 'manager' ? 'manager' : 'peer',
  }
}
