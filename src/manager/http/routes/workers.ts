import { createReadStream } from 'node:fs'
import type { Socket } from 'node:net'
import type { FastifyInstance, FastifyRequest, onRequestHookHandler } from 'fastify'
import { z } from 'zod'
import { limits, PROTOCOL_VERSION, Sha256 } from '../../../protocol/primitives.ts'
import {
  type PartsResponse,
  ReceivedExchange,
  ReceivedParts,
  RegisterRequest,
  type RegisterResponse,
  WorkerId,
} from '../../../protocol/worker.ts'
import type { Contexts } from '../../services/contexts/contexts.ts'
import type { Dispatcher } from '../../services/dispatcher.ts'
import type { WorkerActivity } from '../../services/events/worker-activity.ts'
import type { Durations } from '../../services/metrics/durations.ts'
import { conflict, notFound, unauthorised } from '../api-errors.ts'
import type { Peers } from '../../services/peers.ts'
import { SourcesRequest, type SourcesResponse } from '../../../protocol/sources.ts'
import type { Pilots, Session } from '../../services/pilots.ts'
import { parse } from '../server.ts'
import type { TaskParts } from '../../services/jobs/task-parts.ts'
import type { TaskProgress } from '../../services/jobs/task-progress.ts'
import type { StatusBoard } from '../../services/status-board.ts'
import { bearer } from '../../services/tokens.ts'

const WorkerParams = z.object({ worker: WorkerId })
const ContextParams = z.object({ context: Sha256 })
const RuntimeParams = z.object({ sha256: Sha256 })

interface Archive {
  path: string
  sha256: string
  /** Size. */
  bytes: number
}

/** What pilots boot: a .tar.gz, and the same as a .tar.zst for nodes that can unpack it. */
export type BootedRuntime = Archive & { zstd?: Archive }

export interface WorkerRoutes {
  dispatcher: Dispatcher
  pilots: Pilots
  contexts: Contexts
  board: StatusBoard
  progress: TaskProgress
  parts: TaskParts
  peers: Peers
  activity: WorkerActivity
  /** How long exchanges keep the manager busy. */
  exchanges: Durations
  runtime: BootedRuntime
  terms: Omit<RegisterResponse, 'worker' | 'session' | 'clock'>
}

/** What pilots and their workers ask. */
export function workerRoutes(server: FastifyInstance, options: WorkerRoutes): void {
  const { dispatcher, pilots, contexts, board, progress, parts, peers, activity, exchanges, runtime, terms } =
    options
  const watch = connectionWatch(dispatcher)
  // Asked for before the body is read, so that strangers cannot send one.
  const pilotOnly = before(({ headers }) => void pilots.pilotOf(bearer(headers.authorization)))
  const workerOnly = ownOnly(pilots)

  server.get('/v1/runtime/:sha256', { onRequest: pilotOnly }, ({ params }, reply) => {
    const { sha256 } = parse(RuntimeParams, params)
    const archive = [runtime, runtime.zstd].find((each) => each?.sha256 === sha256)
    if (!archive) {
      throw notFound('this runtime is not served any more: the pilot was submitted by an older factory')
    }
    return reply
      .header('content-type', archive === runtime ? 'application/gzip' : 'application/zstd')
      .header('content-length', archive.bytes)
      .send(createReadStream(archive.path))
  })

  const small = { bodyLimit: limits.smallBody }
  server.post('/v1/workers', { ...small, onRequest: pilotOnly }, ({ body, headers }): RegisterResponse => {
    const info = parse(RegisterRequest, body)
    if (info.protocol !== PROTOCOL_VERSION) {
      throw conflict(`the worker speaks protocol ${info.protocol}, the manager ${PROTOCOL_VERSION}`)
    }
    return { ...pilots.register(bearer(headers.authorization), info), ...terms, clock: dispatcher.now }
  })

  const large = {
    bodyLimit: limits.exchange,
    config: { keep: ['results', '*', 'outcome', 'value'] as const },
  }
  server.post('/v1/workers/:worker/exchange', { ...large, onRequest: workerOnly }, async (request, reply) => {
    const begunAt = performance.now()
    const { worker } = ownSession(pilots, request)
    const exchange = parse(ReceivedExchange, request.body)
    // A context that was never registered would be remembered for nothing.
    exchange.contexts = exchange.contexts.filter(({ context }) => contexts.find(context))
    // A request that was overtaken by a newer one says nothing new.
    const answer = await dispatcher.exchange(pilots.workerInfo(worker), exchange, () => {
      watch(request.raw.socket, worker)
      board.note(worker, exchange.contexts)
      progress.note(worker, exchange.progress ?? [])
      peers.note(worker, exchange.contexts)
      activity.note(worker, exchange)
      exchanges.add(performance.now() - begunAt)
    })
    return reply.header('content-type', 'application/json').send(answer)
  })

  const keepParts = { config: { keep: ['parts', '*', 'part'] as const } }
  server.post(
    '/v1/workers/:worker/parts',
    { bodyLimit: limits.exchange, ...keepParts, onRequest: workerOnly },
    (request): PartsResponse =>
      parts.take(ownSession(pilots, request).worker, parse(ReceivedParts, request.body).parts),
  )

  server.post(
    '/v1/workers/:worker/sources',
    { ...small, onRequest: workerOnly },
    (request): SourcesResponse => {
      const { worker } = ownSession(pilots, request)
      return { sources: peers.sources(worker, parse(SourcesRequest, request.body), request.headers.host) }
    },
  )

  server.get('/v1/contexts/:context', (request) => {
    pilots.authenticate(bearer(request.headers.authorization))
    return contexts.byId(parse(ContextParams, request.params).context)
  })
}

/** Lets in the worker that the path names. */
export function ownOnly(pilots: Pilots): onRequestHookHandler {
  return before((request) => void ownSession(pilots, request))
}

function before(check: (request: FastifyRequest) => void): onRequestHookHandler {
  return (request, _reply, done) => {
    check(request)
    done()
  }
}

/** The session of the worker that the path names. @throws {ApiError} 401 if it is another's */
function ownSession(pilots: Pilots, request: FastifyRequest): Session {
  const session = pilots.authenticate(bearer(request.headers.authorization))
  if (session.worker !== parse(WorkerParams, request.params).worker) throw unauthorised()
  return session
}

/** Tells the dispatcher when the connection that a worker used last is closed: most often its process has died. */
function connectionWatch(dispatcher: Dispatcher): (socket: Socket, worker: string) => void {
  const last = new Map<string, Socket>()
  const users = new WeakMap<Socket, Set<string>>()
  const watch = (socket: Socket): Set<string> => {
    const workers = new Set<string>()
    users.set(socket, workers)
    socket.once('close', () => {
      for (const worker of workers) {
        if (last.get(worker) !== socket) continue
        last.delete(worker)
        dispatcher.disconnected(worker)
      }
    })
    return workers
  }
  return (socket, worker) => {
    last.set(worker, socket)
    const workers = users.get(socket) ?? watch(socket)
    workers.add(worker)
  }
}
