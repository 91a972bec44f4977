import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { Agent, type buildConnector } from 'undici'
import { fetchBundle } from '../bundle/download/fetch-bundle.ts'
import type { Store } from '../bundle/store/store.ts'
import { servePieces } from '../bundle/upload/piece-routes.ts'
import { makePieceServer } from '../bundle/upload/piece-server.ts'
import { toOwnListener } from '../common/listener-owner.ts'
import { trustOnlyCertificate } from '../common/tls-pinning.ts'
import { GoodTickets } from './good-tickets.ts'

/** Longest wait for the manager's answer, milliseconds. */
const ANSWER_MS = 10_000
/**
 * Requests in hand at the manager: what is on its way must last for a round trip of the wide link, and while this process has other
 * things to do. More would have all else that crosses the link wait behind it.
 */
const IN_HAND = 10
const SHA256 = /^[\da-f]{64}$/

export interface PieceCache extends AsyncDisposable {
  /** Takes a connection that asks for pieces. */
  take(socket: Socket): void
}

export interface PieceCacheOptions {
  store: Store
  /** Folder with the archives that pilots boot from. They hold no secret, and pilots check the hash: no ticket is asked for. */
  runtimes?: string | undefined
  /** Where the manager is reached. */
  origin: string
  /** The manager's certificate, PEM: no other is trusted. */
  certificate?: string | undefined
  log: Logger
}

/**
 * Serves pieces of bundles to the pilots of a site, and fetches what it does not hold from the manager, once, passing each piece on as
 * soon as it was checked against its hash. It has no rights of its own: it fetches with the ticket of the pilot that asks, which the
 * manager has found good.
 */
export async function openPieceCache(options: PieceCacheOptions): Promise<PieceCache> {
  const { store, runtimes, origin, certificate, log } = options
  const connect: buildConnector.BuildOptions = {
    timeout: ANSWER_MS,
    ...(certificate !== undefined && trustOnlyCertificate(certificate)),
  }
  const agent = new Agent({
    connect: toOwnListener(connect),
    headersTimeout: ANSWER_MS,
    bodyTimeout: ANSWER_MS,
  })
  const closing = new AbortController()
  const goodTickets = new GoodTickets(origin, agent)
  /** The newest good ticket of each bundle: a fetch may outlast one. */
  const tickets = new Map<string, string>()
  const fetches = new Map<string, Promise<unknown>>()

  const fetch = async (bundle: string): Promise<void> => {
    try {
      const { totalBytes, ms } = await fetchBundle({
        bundle,
        store,
        log,
        signal: closing.signal,
        tuning: { leastInHand: IN_HAND },
        connect: (_source, settings) => new Agent({ ...settings, connect: toOwnListener(connect) }),
        sources: () =>
          Promise.resolve([{ name: 'manager', url: origin, ticket: tickets.get(bundle)!, kind: 'manager' }]),
      })
      log.info({ bundle, totalBytes, ms: Math.round(ms) }, 'a bundle was fetched for this site')
    } catch (error) {
      if (!closing.signal.aborted) log.warn({ bundle, err: error }, 'a bundle could not be fetched')
    } finally {
      fetches.delete(bundle)
    }
  }

  const server = makePieceServer(log)
  await server.register(serveRuntimes, { folder: runtimes })
  await server.register(servePieces, {
    store,
    async authorise(ticket, bundle) {
      if (!(await goodTickets.has(ticket, bundle))) return false
      tickets.set(bundle, ticket)
      if (!fetches.has(bundle) && !(await store.isComplete(bundle)))
        fetches.set(bundle, fetches.get(bundle) ?? fetch(bundle))
      return true
    },
  })
  await server.ready()
  return {
    take: (socket) => void server.server.emit('connection', socket),
    async [Symbol.asyncDispose]() {
      closing.abort(new Error('the relay is closing'))
      await Promise.allSettled(fetches.values())
      await server.close()
      await agent.destroy()
    },
  }
}

/** Fastify plugin that serves the archives of a folder, each by the hash that is its name. */
function serveRuntimes(scope: FastifyInstance, { folder }: { folder: string | undefined }): Promise<void> {
  scope.get<{ Params: { sha256: string } }>('/v1/runtime/:sha256', async ({ params }, reply) => {
    const isName = folder !== undefined && SHA256.test(params.sha256)
    const file = isName ? join(folder, `${params.sha256}.tar.gz`) : undefined
    const found = file === undefined ? undefined : await stat(file).catch(() => undefined)
    if (!found) return reply.status(404).send({ error: 'this relay does not have it' })
    const bytes = createReadStream(file!)
    return reply.type('application/octet-stream').header('content-length', found.size).send(bytes)
  })
  return Promise.resolve()
}
