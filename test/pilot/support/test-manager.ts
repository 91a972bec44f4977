import { createHash, generateKeyPairSync, randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type onRequestHookHandler,
} from 'fastify'
import { pino } from 'pino'
import { createBundle } from '../../../src/bundle/create/create-bundle.ts'
import { servePieces } from '../../../src/bundle/upload/piece-routes.ts'
import { openStore } from '../../../src/bundle/store/store.ts'
import { signTicket, TicketChecker } from '../../../src/bundle/format/ticket.ts'
import { type Handlers, serveRoutes } from '../../../src/manager/http/serve-routes.ts'
import { limits } from '../../../src/protocol/primitives.ts'
import { ContextSpec, type LibrarySpec } from '../../../src/protocol/contexts/context.ts'
import { workerRoutes } from '../../../src/protocol/routes/worker-routes.ts'
import type { Lease, TaskResult } from '../../../src/protocol/task.ts'
import {
  ExchangeRequest,
  type ExchangeResponse,
  type RegisterRequest,
  type RegisterResponse,
} from '../../../src/protocol/worker.ts'
import { until } from '../../support/until.ts'

type TaskOptions = Pick<Lease, 'timeLimitMs'> & { function?: string; alone?: boolean }

type JsonValue = Lease['tasks'][number]['input']

interface Task {
  id: number
  context: string
  input: JsonValue
  options: TaskOptions
}

/** What it has of the manager's routes, as the real ones are. */
const { register, exchange, context, sources } = workerRoutes
const routes = { register, exchange, context, sources }

/** A manager of one worker, in memory: it speaks the protocol by its schemas, and misbehaves as it is told. */
export interface TestManager extends AsyncDisposable {
  readonly url: string
  readonly token: string
  readonly registrations: RegisterRequest[]
  /** Requests of the exchange verb in the order they came, repeated ones included. */
  readonly exchanges: ExchangeRequest[]
  /** Bundles that the worker has asked sources of. */
  readonly sourced: Set<string>
  /** All outcomes of each task. */
  readonly outcomes: Map<number, TaskResult[]>
  /** Where the worker has broken the protocol. */
  readonly violations: string[]
  /** What the next answers say. */
  warm: string[]
  ahead: string[]
  /** Said once. */
  discard: string[]
  drain: boolean
  /** Told at registration. */
  terms: Pick<RegisterResponse, 'workerTimeoutMs' | 'leaseTargetMs' | 'idleMs' | 'contextMode'>
  /** Called with each exchange: `lose` does what it says, but breaks the connection instead of answering. */
  fault: (request: ExchangeRequest) => 'lose' | undefined
  /** From here on the worker's session is not valid. */
  revoke(): void
  /** Adds a context of a module with these files; `index.js` is the module. Returns its id. */
  addContext(files: Record<string, string>, spec?: Partial<LibrarySpec>): Promise<string>
  submit(context: string, inputs: JsonValue[], options?: TaskOptions): number[]
  /** Tasks that are leased. */
  leased(): number
  /** Answers the request that is open, or the next one, at once. */
  wake(): void
  /** Takes leases back, as if they had lapsed; their tasks are queued again. */
  revokeLeases(): void
  cancel(tasks: number[]): void
  /** The last outcome's status of each task; undefined for one that has none. */
  statusOf(tasks: number[]): (string | undefined)[]
  /** Waits until each of the tasks has an outcome other than being handed back. */
  ended(tasks: number[], ms?: number): Promise<void>
  /** Goes away, and comes back at the same port. */
  stop(): Promise<void>
  start(): Promise<void>
}

const log = pino({ level: process.env['TEST_LOG'] ?? 'silent' })
const keys = generateKeyPairSync('ed25519')
const checker = new TicketChecker(keys.publicKey)

export async function startTestManager(): Promise<TestManager> {
  const folder = await mkdtemp(path.join(tmpdir(), 'gleaner-pilot-'))
  const store = await openStore({ folder: path.join(folder, 'store'), log })
  const contexts = new Map<string, ContextSpec>()
  const leases = new Map<number, Map<number, Task>>()
  const lapsed: number[] = []
  const cancelled: number[] = []
  let queue: Task[] = []
  let warm: string[] = []
  let session: string = randomUUID()
  let parked = () => {}
  let woken = false
  let last: { seq: number; body: string } = { seq: -1, body: '' }
  let nextId = 1
  let server: FastifyInstance
  let port = 0

  const requeue = (tasks: Iterable<Task>) => (queue = [...tasks, ...queue])

  function takeIn(request: ExchangeRequest, body: string) {
    if (request.seq === last.seq && body !== last.body)
      manager.violations.push('a repeated request has changed')
    last = { seq: request.seq, body }
    manager.exchanges.push(request)
    for (const result of request.results) {
      const task = leases.get(result.lease)?.get(result.task)
      if (result.outcome.status === 'returned' && task) requeue([task])
      leases.get(result.lease)?.delete(result.task)
      manager.outcomes.set(result.task, [...(manager.outcomes.get(result.task) ?? []), result])
    }
    for (const [lease, tasks] of leases) {
      if (tasks.size > 0 && request.leases.includes(lease)) continue
      requeue(tasks.values())
      leases.delete(lease)
    }
    for (const lease of request.leases) if (!leases.has(lease)) lapsed.push(lease)
  }

  function grant(request: ExchangeRequest): Lease[] {
    if (request.leaving || manager.drain) return []
    return request.want.flatMap(({ context, tasks }) => {
      let left = tasks
      const granted: Lease[] = []
      const kept: Task[] = []
      for (const task of queue) {
        if (task.context !== context || left <= 0) {
          kept.push(task)
          continue
        }
        left--
        let lease = granted.at(-1)
        if (!lease || !sameTerms(task, leases.get(lease.lease)!)) granted.push((lease = newLease(task)))
        const { alone } = task.options
        lease.tasks.push({ task: task.id, input: task.input, ...(alone && { alone }) })
        leases.get(lease.lease)!.set(task.id, task)
      }
      queue = kept
      return granted
    })
  }

  function newLease({ context, options }: Task): Lease {
    const lease = nextId++
    leases.set(lease, new Map())
    const { timeLimitMs } = options
    return {
      lease,
      context,
      function: options.function ?? 'run',
      tasks: [],
      ...(timeLimitMs && { timeLimitMs }),
    }
  }

  function sameTerms({ options }: Task, others: Map<number, Task>): boolean {
    const [other] = others.values()
    return other?.options === options
  }

  function answerTo(request: ExchangeRequest): ExchangeResponse {
    return {
      leases: grant(request),
      cancel: cancelled.splice(0),
      revoke: lapsed.splice(0),
      warm: manager.warm,
      ahead: manager.ahead,
      discard: manager.discard.splice(0),
      again: [],
      shells: [],
      drain: manager.drain,
    }
  }

  async function exchange(request: FastifyRequest, reply: FastifyReply) {
    const parsed = ExchangeRequest.safeParse(request.body)
    if (!parsed.success) {
      manager.violations.push(parsed.error.message)
      return reply.status(400).send({ error: { code: 'invalid', message: parsed.error.message } })
    }
    if (parsed.data.seq < last.seq) return overtaken(reply, `request ${parsed.data.seq} after ${last.seq}`)
    const fault = manager.fault(parsed.data)
    takeIn(parsed.data, JSON.stringify(request.body))
    const hasNews = () =>
      woken ||
      parsed.data.want.some(
        ({ context, tasks }) => tasks > 0 && queue.some((task) => task.context === context),
      )
    if (!hasNews()) await waitFor(reply, parsed.data.waitMs)
    woken = false
    if (reply.raw.destroyed) return reply.hijack()
    if (session === '') return refuse(reply)
    const answer = answerTo(parsed.data)
    if (fault === 'lose') {
      reply.hijack()
      reply.raw.socket?.destroy()
      return reply
    }
    return reply.send(answer)
  }

  /** An old request may be read after its successor if the pilot has called it off, which closes its connection; else it is a fault. */
  function overtaken(reply: FastifyReply, fault: string) {
    manager.violations.push(fault)
    const excuse = () => manager.violations.splice(manager.violations.indexOf(fault), 1)
    if (reply.raw.destroyed) excuse()
    else reply.raw.once('close', excuse)
    return reply.hijack()
  }

  /** Until there is something to say, the time is up, or nobody listens any more. */
  async function waitFor(reply: FastifyReply, ms: number) {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, ms)
    reply.raw.once('close', resolve)
    parked = resolve
    await promise
    clearTimeout(timer)
  }

  function wake() {
    woken = true
    parked()
  }

  const handlers: Handlers<typeof routes> = {
    register({ body }) {
      manager.registrations.push(body)
      last = { seq: -1, body: '' }
      const ticketKey = keys.publicKey.export({ type: 'spki', format: 'der' }).toString('base64')
      return { worker: 'w1', session, clock: Date.now(), ticketKey, ...manager.terms }
    },
    exchange: ({ request, reply }) => exchange(request, reply),
    context: ({ params, reply }) => reply.send(contexts.get(params.context)),
    sources({ body: { bundle } }) {
      manager.sourced.add(bundle)
      const ticket = signTicket(keys.privateKey, { bundle, notAfter: Date.now() + 60_000 })
      // Not where the worker reaches it, as when there is a proxy between.
      const url = 'http://manager.invalid'
      return { sources: [{ name: 'manager', kind: 'manager', url, ticket }] }
    },
  }

  async function start() {
    server = fastify({ bodyLimit: limits.body, forceCloseConnections: true })
    serveRoutes(server, routes, handlers, {
      pilot: withSecret(() => manager.token),
      ownWorker: withSecret(() => session),
      anyWorker: withSecret(() => session),
    })
    await server.register(servePieces, {
      store,
      authorise: (ticket, bundle) => checker.isGood(ticket, bundle, Date.now()),
    })
    await server.listen({ host: '127.0.0.1', port })
    port = (server.server.address() as { port: number }).port
  }

  const manager: TestManager = {
    get url() {
      return `http://127.0.0.1:${port}`
    },
    token: randomUUID(),
    registrations: [],
    exchanges: [],
    sourced: new Set(),
    outcomes: new Map(),
    violations: [],
    get warm() {
      return warm
    },
    set warm(contexts) {
      warm = contexts
      wake()
    },
    ahead: [],
    discard: [],
    drain: false,
    terms: { workerTimeoutMs: 30_000, leaseTargetMs: 2_000, idleMs: 600_000, contextMode: 'pervasive' },
    fault: () => undefined,
    revoke() {
      session = ''
      wake()
    },
    async addContext(files, spec = {}) {
      const source = path.join(folder, randomUUID())
      for (const [name, text] of Object.entries(files)) {
        await mkdir(path.dirname(path.join(source, name)), { recursive: true })
        await writeFile(path.join(source, name), text)
      }
      const { id: code } = await createBundle({ store, paths: [source], kind: 'files' })
      const library = {
        library: 'module',
        setup: { bundle: 'code', file: 'index.js', args: [] },
        functions: { run: { export: 'run' } },
        ...spec,
      }
      const rest = { name: `context-${contexts.size}`, bundles: { code }, spec: library }
      const id = createHash('sha256').update(JSON.stringify(rest)).digest('hex')
      contexts.set(id, ContextSpec.parse({ id, ...rest }))
      return id
    },
    submit(context, inputs, options = {}) {
      const tasks = inputs.map((input) => ({ id: nextId++, context, input, options }))
      queue.push(...tasks)
      wake()
      return tasks.map(({ id }) => id)
    },
    leased: () => [...leases.values()].reduce((sum, { size }) => sum + size, 0),
    wake,
    revokeLeases() {
      for (const [lease, tasks] of leases) {
        requeue(tasks.values())
        leases.delete(lease)
      }
    },
    cancel(tasks) {
      cancelled.push(...tasks)
      for (const held of leases.values()) for (const task of tasks) held.delete(task)
      wake()
    },
    statusOf: (tasks) => tasks.map((task) => manager.outcomes.get(task)?.at(-1)?.outcome.status),
    ended: (tasks, ms) =>
      until(
        () => manager.statusOf(tasks).every((status) => status !== undefined && status !== 'returned'),
        ms,
      ),
    stop: () => server.close(),
    start,
    async [Symbol.asyncDispose]() {
      wake()
      await server.close()
      await store[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    },
  }
  await start()
  return manager
}

/** Lets in who has the secret. */
function withSecret(secret: () => string): onRequestHookHandler {
  return ({ headers }, reply, done) => {
    if (secret() !== '' && headers.authorization === `Bearer ${secret()}`) done()
    else refuse(reply)
  }
}

function refuse(reply: FastifyReply) {
  return reply.status(401).send({ error: { code: 'unauthorised', message: 'this token is not valid' } })
}
