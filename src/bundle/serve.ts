import { Readable } from 'node:stream'
import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify'
import { explain } from '../protocol/common.ts'
import type { ApiErrorBody } from '../protocol/common.ts'
import { BundleId } from '../protocol/bundle.ts'
import { PIECES_HEADER, PieceRange, RUN_MAX, RunQuery } from '../protocol/sources.ts'
import { has, isBitmap } from './bitmap.ts'
import { BundleError } from './errors.ts'
import { canonicalJson } from './manifest.ts'
import type { Pieces } from './pieces.ts'
import { createSpread } from './spread.ts'
import type { Spread } from './spread.ts'
import type { Store } from './store.ts'
import { limitUploads } from './uploads.ts'
import type { UploadLimits } from './uploads.ts'

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
/** A client that takes less than this, in bytes per second, is cut off; after so many milliseconds at first. */
const SLOWEST = 64 << 10
const SLOWEST_GRACE_MS = 10_000
/** News of further pieces are gathered this long, milliseconds. */
const NEWS_MS = 10
/** Largest bitmap of wanted pieces, bytes. */
const WANT_MAX = 1 << 20

/**
 * Fastify plugin with the routes of a piece source (see `protocol/sources.ts`), for the manager and for workers.
 * Only pieces that were checked leave, also while the rest of their bundle is still being fetched.
 */
export function servePieces(scope: FastifyInstance, options: ServePiecesOptions): Promise<void> {
  const { store, authorise } = options
  const uploads = limitUploads(options.uploads)
  const spreads = new WeakMap<Pieces, Spread>()

  const spreadOf = (pieces: Pieces): Spread => {
    const spread = spreads.get(pieces) ?? createSpread(pieces.layout.pieces)
    spreads.set(pieces, spread)
    return spread
  }

  /** Reads pieces when it is this request's turn, and sends them. */
  const upload = async (
    pieces: Pieces,
    reply: FastifyReply,
    choose: () => { first: number; count: number } | undefined,
  ): Promise<FastifyReply> => {
    const gone = closing(reply)
    const end = await uploads.turn(AbortSignal.any([gone, AbortSignal.timeout(TURN_MS)]))
    if (!end) return refuse(reply, 503, 'busy', 'too many uploads; ask again soon or ask another source')
    gone.addEventListener('abort', end)
    if (gone.aborted) end()
    const run = choose()
    if (!run) return reply.code(204).send()
    const data = await pieces.read(run.first, run.count)
    const limit = setTimeout(
      () => reply.raw.destroy(),
      SLOWEST_GRACE_MS + (data.length / SLOWEST) * 1000,
    ).unref()
    gone.addEventListener('abort', () => clearTimeout(limit))
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
  scope.setErrorHandler((error: FastifyError | BundleError, request, reply) => {
    if (error instanceof BundleError && error.code === 'not-found')
      return refuse(reply, 404, 'not-found', error.message)
    const status = 'statusCode' in error ? (error.statusCode ?? 500) : 500
    if (status < 500) return refuse(reply, status, 'bad-request', error.message)
    request.log.error({ err: error }, 'serving pieces failed')
    return refuse(reply, 500, 'failed', 'this source cannot read its pieces; ask another one')
  })
  scope.addHook('onRequest', async (request, reply) => {
    const bundle = BundleId.safeParse((request.params as { bundle?: string }).bundle)
    const [, ticket] = /^Bearer (\S{1,1000})$/.exec(request.headers.authorization ?? '') ?? []
    if (bundle.success && ticket !== undefined && (await authorise(ticket, bundle.data))) return
    return refuse(
      reply,
      403,
      'forbidden',
      'this needs a ticket for the bundle; ask the manager for sources again',
    )
  })

  scope.get<BundleParams>('/v1/pieces/:bundle/manifest', async ({ params }, reply) => {
    const pieces = await store.awaitPieces(params.bundle, APPEAR_MS, closing(reply))
    if (!pieces) return notHere(reply, params.bundle)
    return reply.type('application/json').send(canonicalJson(pieces.layout.manifest))
  })
  scope.get<BundleParams>('/v1/pieces/:bundle/holdings', async ({ params }, reply) => {
    const pieces = await store.awaitPieces(params.bundle, APPEAR_MS, closing(reply))
    if (!pieces) return notHere(reply, params.bundle)
    return reply.type('application/octet-stream').send(holdingsOf(pieces))
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
    return upload(pieces, reply, () => {
      spreadOf(pieces).sent(first, count, Date.now())
      return { first, count }
    })
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
    return upload(pieces, reply, () => {
      const wanted = (piece: number) => has(want, piece) && has(pieces.held, piece)
      const run = spreadOf(pieces).choose(wanted, Date.now(), (first, count) => {
        return pieces.layout.bytes(first, count) <= query.data.bytes
      })
      if (run) spreadOf(pieces).sent(run.first, run.count, Date.now())
      return run
    })
  })
  return Promise.resolve()
}

type BundleParams = { Params: { bundle: string } }

/** Fires when the answer has left or the client is gone. */
function closing(reply: FastifyReply): AbortSignal {
  const controller = new AbortController()
  reply.raw.once('close', () => controller.abort())
  if (reply.raw.closed) controller.abort()
  return controller.signal
}

function refuse(reply: FastifyReply, status: number, code: string, message: string): FastifyReply {
  return reply.code(status).send({ error: { code, message } } satisfies ApiErrorBody)
}

function notHere(reply: FastifyReply, bundle: string): FastifyReply {
  return refuse(reply, 404, 'not-found', `bundle ${bundle} is not held here`)
}

/** The stream of what is held: see `protocol/sources.ts`. A reader that is slow gets its news in larger portions. */
function holdingsOf(pieces: Pieces): Readable {
  const { layout } = pieces
  const news: number[] = []
  let timer: NodeJS.Timeout | undefined
  let ready = false

  const flush = () => {
    timer = undefined
    if (!ready) return
    if (news.length > 0) {
      const frame = Buffer.alloc(news.length * 4)
      news.splice(0).forEach((piece, index) => frame.writeUInt32LE(piece, index * 4))
      ready = stream.push(frame)
    }
    if (pieces.heldPieces() === layout.pieces && news.length === 0) stream.push(null)
  }
  const stream = new Readable({
    read() {
      ready = true
      timer ??= setTimeout(flush, NEWS_MS)
    },
    destroy(error, callback) {
      clearTimeout(timer)
      unwatch()
      callback(error)
    },
  })
  const unwatch = pieces.watch((piece) => {
    news.push(piece)
    timer ??= setTimeout(flush, NEWS_MS)
  })
  const head = Buffer.alloc(4)
  head.writeUInt32LE(layout.pieces)
  stream.push(Buffer.concat([head, pieces.held]))
  return stream
}
