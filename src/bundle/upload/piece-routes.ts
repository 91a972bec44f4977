import type { ServerResponse } from 'node:http'
import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify'
import { CHANNEL } from '../../protocol/channels/piece-frames.ts'
import type { ApiErrorBody } from '../../protocol/primitives.ts'
import type { ErrorCode } from '../../protocol/error-codes.ts'
import { BundleId } from '../../protocol/bundle.ts'
import { pieceRoutes } from '../../protocol/routes/piece-routes.ts'
import { APPEAR_MS, createSeeder } from './seeder.ts'
import { canonicalJson } from '../format/manifest.ts'
import { serveChannels } from './piece-channel-server.ts'
import type { Store } from '../store/store.ts'
import { awaitUploadSlot, createUploadSlots } from './upload-slots.ts'

export type ServePiecesOptions = {
  store: Store
  /** Whether this bearer token may fetch this bundle. */
  authorise: (ticket: string, bundle: string) => boolean | Promise<boolean>
  /** Most answers with pieces that are in memory because they have not left yet. */
  mostLeaving?: number
}

/**
 * Manifests that are on their way together, and how long one counts, milliseconds. Few, so that of workers that begin together
 * some have it soon and pass it on, before the others had their turn.
 */
const MANIFESTS_AT_ONCE = 2
const MANIFEST_MS = 100
/** A ticket that was good is not checked again for this long, milliseconds: signatures cost more than small pieces. */
const ACCEPTED_MS = 5_000
const ACCEPTED_MOST = 1_000

/** Fastify plugin with the routes of a piece source (see `protocol/routes/piece-routes.ts`), for the manager and for workers. */
export function servePieces(scope: FastifyInstance, options: ServePiecesOptions): Promise<void> {
  const { store, authorise, mostLeaving } = options
  const manifests = createUploadSlots({ atOnce: MANIFESTS_AT_ONCE, patienceMs: MANIFEST_MS })
  const isAccepted = rememberAccepted(authorise)
  const mayHave = async (authorization: string | undefined, bundle: string): Promise<boolean> => {
    const [, ticket] = /^Bearer (\S{1,1000})$/.exec(authorization ?? '') ?? []
    return ticket !== undefined && (await isAccepted(ticket, bundle))
  }

  scope.setErrorHandler((error, request, reply) => {
    const { statusCode = 500, message } = error as FastifyError
    if (statusCode < 500) return refuse(reply, statusCode, 'GLEANER_INVALID', message)
    request.log.error({ err: error }, 'serving pieces failed')
    return refuse(reply, 500, 'GLEANER_INTERNAL', 'this source cannot read its pieces; ask another one')
  })
  scope.addHook('onRequest', async (request, reply) => {
    const bundle = BundleId.safeParse((request.params as { bundle?: string }).bundle)
    if (bundle.success && (await mayHave(request.headers.authorization, bundle.data))) return
    return refuse(
      reply,
      403,
      'GLEANER_UNAUTHORISED',
      'this needs a ticket for the bundle; ask the manager for sources again',
    )
  })

  // Asks only whether a ticket is good, as the relay of a site does for each of its pilots.
  scope.head(pieceRoutes.manifest.path, (_request, reply) => reply.send())
  scope.get<BundleParams>(
    pieceRoutes.manifest.path,
    { exposeHeadRoute: false },
    async ({ params }, reply) => {
      const gone = closing(reply.raw)
      const pieces = await store.awaitPieces(params.bundle, APPEAR_MS, gone)
      if (!pieces)
        return refuse(reply, 404, 'GLEANER_BUNDLE_NOT_FOUND', `bundle ${params.bundle} is not held here`)
      const endTurn = await awaitUploadSlot(manifests, gone)
      if (!endTurn)
        return refuse(reply, 503, 'GLEANER_BUSY', 'too many uploads; ask again soon or ask another source')
      return reply.type('application/json').send(canonicalJson(pieces.layout.manifest))
    },
  )
  scope.get<BundleParams>(pieceRoutes.pieces.path, (_request, reply) => {
    const message = `pieces are given over a channel; if something between drops "upgrade: ${CHANNEL}", let it pass`
    return refuse(reply.header('upgrade', CHANNEL), 426, 'GLEANER_INVALID', message)
  })
  serveChannels(scope, { give: createSeeder(store, mostLeaving), mayHave })
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

function refuse(reply: FastifyReply, status: number, code: ErrorCode, message: string): FastifyReply {
  return reply.code(status).send({ error: { code, message } } satisfies ApiErrorBody)
}
