import type { ServerResponse } from 'node:http'
import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify'
import { explain } from '../protocol/common.ts'
import type { ApiErrorBody } from '../protocol/common.ts'
import { BundleId } from '../protocol/bundle.ts'
import { PIECES_HEADER, PieceRange, RUN_MAX, RunQuery } from '../protocol/sources.ts'
import { has, isBitmap } from './bitmap.ts'
import { keepBuffers } from './buffers.ts'
import { DELIVERY_MS, trackDeliveries } from './deliveries.ts'
import { BundleError } from './errors.ts'
import { holdingsTeller } from './holdings.ts'
import { canonicalJson } from './manifest.ts'
import type { Pieces } from './pieces.ts'
import { createSpread } from './spread.ts'
import type { Store } from './store.ts'
import { limitUploads } from './uploads.ts'
import type { UploadLimits, Uploads } from './uploads.ts'

export type ServePiecesOptions = {
  store: Store
  /** Whether this bearer token may fetch this bundle. */
  authorise: (ticket: string, bundle: string) => boolean | Promise<boolean>
  uploads?: UploadLimits
}

/** How long a request for a bundle that is not here waits for a fetch of it to begin, milliseconds. */
const APPEAR_MS = 5_000
/** How long a request waits for its turn before it is told to ask elsewhere, milliseconds. */
const TURN_MS = 3_000
/**
 * Runs of this source's choice that are on their way together. Nobody else has these pieces yet: few at once, each arrives
 * early and whole and can be passed on, rather than all at the same late time. As many as a worker has requests in hand, for
 * this source gets only such a share of its link.
 */
const SPREADING_AT_ONCE = 12
/**
 * Manifests that are on their way together, and how long one counts, milliseconds. Few, so that of workers that begin together
 * some have it soon and pass it on, before the others had their turn.
 */
const MANIFESTS_AT_ONCE = 2
const MANIFEST_PATIENCE_MS = 100
/** A client that takes less than this, in bytes per second, is cut off; after so many milliseconds at first. */
const SLOWEST = 64 << 10
const SLOWEST_GRACE_MS = 10_000
/** A ticket that was good is not checked again for this long, milliseconds: signatures cost more than small pieces. */
const ACCEPTED_MS = 5_000
const ACCEPTED_MOST = 1_000
/** Largest bitmap of wanted pieces, bytes. */
const WANT_MAX = 1 << 20

/**
 * Fastify plugin with the routes of a piece source (see `protocol/sources.ts`), for the manager and for workers.
 * Only pieces that were checked leave, also while the rest of their bundle is still being fetched.
 */
export function servePieces(scope: FastifyInstance, options: ServePiecesOptions): Promise<void> {
  const { store, authorise } = options
  const uploads = limitUploads(options.uploads)
  const spreading = limitUploads({ atOnce: SPREADING_AT_ONCE, patienceMs: DELIVERY_MS })
  const manifests = limitUploads({ atOnce: MANIFESTS_AT_ONCE, patienceMs: MANIFEST_PATIENCE_MS })
  const deliveries = trackDeliveries()
  const buffers = keepBuffers()
  const spreadOf = perPieces((pieces) => createSpread(pieces.layout.pieces))
  const tellerOf = perPieces(holdingsTeller)
  const isAccepted = rememberAccepted(authorise)

  const send = async (
    pieces: Pieces,
    reply: FastifyReply,
    run: { first: number; count: number },
  ): Promise<FastifyReply> => {
    const data = await pieces.read(run.first, run.count, (bytes) => buffers.take(bytes))
    const cutOff = SLOWEST_GRACE_MS + (data.length / SLOWEST) * 1000
    const limit = setTimeout(() => reply.raw.destroy(), cutOff).unref()
    reply.raw.once('close', () => {
      clearTimeout(limit)
      // Unfinished, the connection may still be reading it.
      if (reply.raw.writableFinished) buffers.give(data)
    })
    return reply
      .header(PIECES_HEADER, `${run.first}-${run.count}`)
      .type('application/octet-stream')
      .send(data)
  }

  scope.addContentTypeParser(
    'application/octet-stream',
    { parseAs: 'buffer', bodyLimit: WANT_MAX },
    (_request, body, done) => done(null, body),
  )
  scope.setErrorHandler((error, request, reply) => {
    if (error instanceof BundleError && error.code === 'not-found')
      return refuse(reply, 404, 'not-found', error.message)
    const { statusCode = 500, message } = error as FastifyError
    if (statusCode < 500) return refuse(reply, statusCode, 'bad-request', message)
    request.log.error({ err: error }, 'serving pieces failed')
    return refuse(reply, 500, 'failed', 'this source cannot read its pieces; ask another one')
  })
  scope.addHook('onRequest', async (request, reply) => {
    deliveries.arrived(request.socket)
    const bundle = BundleId.safeParse((request.params as { bundle?: string }).bundle)
    const [, ticket] = /^Bearer (\S{1,1000})$/.exec(request.headers.authorization ?? '') ?? []
    if (bundle.success && ticket !== undefined && (await isAccepted(ticket, bundle.data))) return
    return refuse(
      reply,
      403,
      'forbidden',
      'this needs a ticket for the bundle; ask the manager for sources again',
    )
  })

  scope.get<BundleParams>('/v1/pieces/:bundle/manifest', async ({ params, socket }, reply) => {
    const pieces = await store.awaitPieces(params.bundle, APPEAR_MS, closing(reply.raw))
    if (!pieces) return notHere(reply, params.bundle)
    const endTurn = await awaitTurn(manifests, reply.raw)
    if (!endTurn) return busy(reply)
    deliveries.begins(socket, endTurn)
    return reply.type('application/json').send(canonicalJson(pieces.layout.manifest))
  })
  scope.get<BundleParams>('/v1/pieces/:bundle/holdings', async ({ params }, reply) => {
    const pieces = await store.awaitPieces(params.bundle, APPEAR_MS, closing(reply.raw))
    if (!pieces) return notHere(reply, params.bundle)
    reply.hijack()
    reply.raw.writeHead(200, { 'content-type': 'application/octet-stream' })
    const stop = tellerOf(pieces).tell({
      write: (data) => reply.raw.write(data),
      backlog: () => reply.raw.writableLength,
      end: (done) => (done ? reply.raw.end() : reply.raw.destroy()),
    })
    reply.raw.once('close', stop)
    return reply
  })
  scope.get<BundleParams>('/v1/pieces/:bundle', async (request, reply) => {
    const query = PieceRange.safeParse(request.query)
    if (!query.success) return refuse(reply, 400, 'bad-request', explain(query.error))
    const pieces = await store.pieces(request.params.bundle)
    if (!pieces) return notHere(reply, request.params.bundle)
    const { first, count } = query.data
    if (first + count > pieces.layout.pieces)
      return refuse(reply, 400, 'bad-request', 'there are no such pieces')
    if (count > 1 && pieces.layout.bytes(first, count) > RUN_MAX) {
      return refuse(reply, 400, 'bad-request', `ask for at most ${RUN_MAX} bytes at once`)
    }
    const endTurn = await awaitTurn(uploads, reply.raw)
    if (!endTurn) return busy(reply)
    reply.raw.once('close', endTurn)
    spreadOf(pieces).sent(first, count, Date.now())
    return send(pieces, reply, { first, count })
  })
  scope.post<BundleParams>('/v1/pieces/:bundle', async (request, reply) => {
    const query = RunQuery.safeParse(request.query)
    if (!query.success) return refuse(reply, 400, 'bad-request', explain(query.error))
    const pieces = await store.pieces(request.params.bundle)
    if (!pieces) return notHere(reply, request.params.bundle)
    const want = request.body
    if (!Buffer.isBuffer(want) || !isBitmap(want, pieces.layout.pieces)) {
      return refuse(reply, 400, 'bad-request', 'the body must be a bitmap of the bundle’s pieces')
    }
    const endTurn = await awaitTurn(spreading, reply.raw)
    if (!endTurn) return busy(reply)
    const wanted = (piece: number) => has(want, piece) && has(pieces.held, piece)
    const run = spreadOf(pieces).choose(wanted, Date.now(), (first, count) => {
      return pieces.layout.bytes(first, count) <= query.data.bytes
    })
    if (!run) {
      endTurn()
      return reply.code(204).send()
    }
    deliveries.begins(request.socket, endTurn)
    spreadOf(pieces).sent(run.first, run.count, Date.now())
    return send(pieces, reply, run)
  })
  return Promise.resolve()
}

type BundleParams = { Params: { bundle: string } }

/** Fires when the answer has left or the client is gone. */
function closing(response: ServerResponse): AbortSignal {
  const controller = new AbortController()
  response.once('close', () => controller.abort())
  if (response.closed) controller.abort()
  return controller.signal
}

/** Waits for a turn to upload. Returns how to end it; undefined if there is none in time, or the client is gone. */
function awaitTurn(uploads: Uploads, response: ServerResponse): Promise<(() => void) | undefined> {
  return new Promise((resolve) => {
    if (response.closed) return resolve(undefined)
    const settle = (end?: () => void) => {
      clearTimeout(timer)
      response.off('close', giveUp)
      resolve(end)
    }
    const giveUp = () => {
      end?.()
      settle()
    }
    const timer = setTimeout(giveUp, TURN_MS)
    response.once('close', giveUp)
    const end = uploads.turn(() => settle(() => end?.()))
    if (!end) giveUp()
  })
}

/** Something kept beside each bundle's pieces for as long as these are in use. */
function perPieces<T>(make: (pieces: Pieces) => T): (pieces: Pieces) => T {
  const made = new WeakMap<Pieces, T>()
  return (pieces) => {
    const one = made.get(pieces) ?? make(pieces)
    made.set(pieces, one)
    return one
  }
}

function rememberAccepted(authorise: ServePiecesOptions['authorise']): ServePiecesOptions['authorise'] {
  const accepted = new Map<string, number>()
  return async (ticket, bundle) => {
    const key = `${bundle} ${ticket}`
    const until = accepted.get(key)
    if (until !== undefined && until > Date.now()) return true
    accepted.delete(key)
    if (!(await authorise(ticket, bundle))) return false
    if (accepted.size >= ACCEPTED_MOST) accepted.clear()
    accepted.set(key, Date.now() + ACCEPTED_MS)
    return true
  }
}

function refuse(reply: FastifyReply, status: number, code: string, message: string): FastifyReply {
  return reply.code(status).send({ error: { code, message } } satisfies ApiErrorBody)
}

function busy(reply: FastifyReply): FastifyReply {
  return refuse(reply, 503, 'busy', 'too many uploads; ask again soon or ask another source')
}

function notHere(reply: FastifyReply, bundle: string): FastifyReply {
  return refuse(reply, 404, 'not-found', `bundle ${bundle} is not held here`)
}
