import { createReadStream } from 'node:fs'
import type { Socket } from 'node:net'
import { PROTOCOL_VERSION } from '../../../protocol/primitives.ts'
import type { RegisterResponse } from '../../../protocol/worker.ts'
import type { Contexts } from '../../services/contexts/contexts.ts'
import type { Dispatcher } from '../../services/dispatcher.ts'
import type { WorkerEvents } from '../../services/events/worker-events.ts'
import type { DurationHistogram } from '../../services/metrics/duration-histogram.ts'
import { ownSession } from '../access.ts'
import { conflict, notFound } from '../api-errors.ts'
import type { Peers } from '../../services/peers.ts'
import type { WorkerSessions } from '../../services/pilots/worker-sessions.ts'
import type { TaskParts } from '../../services/jobs/task-parts.ts'
import type { TaskProgress } from '../../services/jobs/task-progress.ts'
import type { JobSpans } from '../../services/tracing/job-spans.ts'
import type { StatusBoard } from '../../services/status-board.ts'
import { bearer } from '../../services/tokens.ts'
import type { ManagerHandlers } from './handlers.ts'

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
  sessions: WorkerSessions
  contexts: Contexts
  board: StatusBoard
  progress: TaskProgress
  parts: TaskParts
  peers: Peers
  workerEvents: WorkerEvents
  /** Tells of what workers do, where traces are collected. */
  spans: JobSpans | undefined
  /** How long exchanges keep the manager busy. */
  exchanges: DurationHistogram
  runtime: BootedRuntime
  terms: Omit<RegisterResponse, 'worker' | 'session' | 'clock'>
}

/** What pilots and their workers ask. */
export function workerHandlers(options: WorkerRoutes) {
  const { dispatcher, sessions, contexts, board, progress, parts, peers, workerEvents, spans, exchanges } =
    options
  const { runtime, terms } = options
  const watch = connectionWatch(dispatcher)
  return {
    runtime({ params: { sha256 }, reply }) {
      const archive = [runtime, runtime.zstd].find((each) => each?.sha256 === sha256)
      if (!archive) {
        throw notFound('this runtime is not served any more: the pilot was submitted by an older factory')
      }
      return reply
        .header('content-type', archive === runtime ? 'application/gzip' : 'application/zstd')
        .header('content-length', archive.bytes)
        .send(createReadStream(archive.path))
    },
    register({ body: info, request: { headers } }) {
      if (info.protocol !== PROTOCOL_VERSION) {
        throw conflict(`the worker speaks protocol ${info.protocol}, the manager ${PROTOCOL_VERSION}`)
      }
      return { ...sessions.register(bearer(headers.authorization), info), ...terms, clock: dispatcher.now }
    },
    async exchange(received) {
      const begunAt = performance.now()
      const { request, reply } = received
      // Asked again: the session may have ended while the body came.
      const { worker } = ownSession(sessions, request)
      const exchange = received.body
      // A context that was never registered would be remembered for nothing.
      exchange.contexts = exchange.contexts.filter(({ context }) => contexts.find(context))
      // A request that was overtaken by a newer one says nothing new.
      const answer = await dispatcher.exchange(sessions.workerInfo(worker), exchange, () => {
        watch(request.raw.socket, worker)
        board.note(worker, exchange.contexts)
        progress.note(worker, exchange.progress ?? [])
        peers.note(worker, exchange.contexts)
        workerEvents.note(worker, exchange)
        spans?.note(worker, exchange)
        exchanges.add(performance.now() - begunAt)
      })
      return reply.header('content-type', 'application/json').send(answer)
    },
    parts: ({ request, body }) => parts.take(ownSession(sessions, request).worker, body.parts),
    sources({ request, body }) {
      const { worker } = ownSession(sessions, request)
      return { sources: peers.sources(worker, body, request.headers.host) }
    },
    context: ({ params }) => contexts.byId(params.context),
  } satisfies Partial<ManagerHandlers>
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
