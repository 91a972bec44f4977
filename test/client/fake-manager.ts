import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  AddTasksRequest,
  CancelTasksRequest,
  CreateJobRequest,
  FindRowsRequest,
  type Endpoint,
  type FindRowsResponse,
  type JobErrors,
  type JobInfo,
  type ResultRow,
} from '../../src/protocol/client.ts'
import { type Status } from '../../src/protocol/status.ts'
import type { ContextSpec } from '../../src/protocol/contexts/context.ts'
import { ApiErrorBody } from '../../src/protocol/primitives.ts'

/** How a task ends, or `held` for one that has not ended yet. */
export type Ending = Pick<ResultRow, 'status' | 'value' | 'error'> | 'held'

interface FakeJob {
  info: JobInfo
  tasks: Map<string, unknown>
  /** Keys that are the texts of numbers. */
  numeric: Set<string>
  rows: ResultRow[]
}

/** A manager in memory that speaks the client's half of the protocol and ends tasks as it is told. */
export interface FakeManager extends AsyncDisposable {
  /** State folder with an endpoint.json. */
  readonly state: string
  readonly jobs: FakeJob[]
  /** Keys of tasks that were cancelled by themselves. */
  readonly cancelled: string[]
  /** `METHOD PATH` of each request, without the query. */
  readonly requests: string[]
  /** What becomes of a task once it is added. */
  run: (input: unknown, key: string) => Ending
  /** Called with each request first; whatever it does to the response is the answer. */
  before: (request: IncomingMessage, response: ServerResponse) => boolean | Promise<boolean>
  /** Ends tasks that were held. */
  release(): void
  stop(): Promise<void>
  /** Listens again, on another port and with another token, as a restarted factory may. */
  start(): Promise<void>
}

export const CONTEXT: ContextSpec = {
  id: 'a'.repeat(64),
  name: 'echo',
  bundles: {},
  spec: {
    library: 'module',
    setup: { bundle: 'code', file: 'echo.js', args: [] },
    functions: { echo: { export: 'echo' }, shout: { export: 'shout' } },
  },
}

export async function fakeManager(): Promise<FakeManager> {
  const state = await mkdtemp(join(tmpdir(), 'gleaner-client-'))
  let server: Server
  let token = ''
  let generation = 0
  let cursor = 0
  let wake = Promise.withResolvers<void>()

  const fake: FakeManager = {
    state,
    jobs: [],
    cancelled: [],
    requests: [],
    run: (input) => ({ status: 'done', value: { echo: input as string } }),
    before: () => false,
    release() {
      for (const job of fake.jobs) settle(job)
      wake.resolve()
      wake = Promise.withResolvers()
    },
    async stop() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
    async start() {
      token = `secret-${++generation}-${'x'.repeat(32)}`
      server = createServer((request, response) => void serve(request, response))
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      const { port } = server.address() as { port: number }
      const endpoint: Endpoint = {
        url: `http://127.0.0.1:${port}`,
        token,
        pid: process.pid,
        host: hostname(),
      }
      await writeFile(join(state, 'endpoint.json'), JSON.stringify(endpoint))
    },
    async [Symbol.asyncDispose]() {
      if (server.listening) await fake.stop()
      await rm(state, { recursive: true })
    },
  }

  function settle({ info, tasks, numeric, rows }: FakeJob) {
    const ended = new Set(rows.map(({ key }) => key))
    if (info.state === 'cancelled') return
    for (const [key, input] of tasks) {
      const ending = ended.has(key) ? 'held' : fake.run(input, key)
      if (ending !== 'held') rows.push({ cursor: ++cursor, key, numeric: numeric.has(key), ms: 1, ...ending })
    }
    info.done = rows.filter(({ status }) => status === 'done').length
    info.failed = rows.length - info.done
    info.tasks = tasks.size
    if (info.closed && rows.length === tasks.size && info.state === 'open') info.state = 'finished'
  }

  async function serve(request: IncomingMessage, response: ServerResponse) {
    const url = new URL(request.url ?? '', 'http://fake')
    fake.requests.push(`${request.method} ${url.pathname}`)
    if (await fake.before(request, response)) return
    const body = await new Response(request).text()
    const answer = (status: number, value: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    }
    const refuse = (status: number, code: string, message: string) =>
      answer(status, ApiErrorBody.parse({ error: { code, message } }))

    if (request.headers.authorization !== `Bearer ${token}`) return refuse(401, 'unauthorized', 'wrong token')
    const [, , collection, id, verb, detail] = url.pathname.split('/')
    if (collection === 'status') return answer(200, status(fake))
    if (collection === 'contexts' && verb !== undefined) return answer(200, CONTEXT)
    if (collection === 'contexts') return answer(200, { contexts: [CONTEXT] })
    if (collection !== 'jobs') return refuse(404, 'unknown_route', 'no such route')
    if (id === undefined) {
      if (request.method === 'GET') return answer(200, { jobs: fake.jobs.map(({ info }) => info) })
      return answer(200, create(CreateJobRequest.parse(JSON.parse(body))).info)
    }
    const job = fake.jobs[Number(id) - 1]
    if (!job) return refuse(404, 'unknown_job', `there is no job ${id}`)
    if (detail === 'cancel') {
      const { keys } = CancelTasksRequest.parse(JSON.parse(body))
      fake.cancelled.push(...keys)
      return answer(200, { cancelled: keys.length })
    }
    if (verb === 'tasks') return answer(200, add(job, AddTasksRequest.parse(JSON.parse(body))))
    if (verb === 'rows') return answer(200, find(job, FindRowsRequest.parse(JSON.parse(body))))
    if (verb === 'results') return answer(200, await results(job, url.searchParams))
    if (verb === 'errors') return answer(200, errors(job))
    if (verb === 'retry') return answer(200, retry(job))
    if (verb === 'forget') fake.jobs.splice(Number(id) - 1, 1)
    if (verb === 'cancel' && job.info.state === 'open') job.info.state = 'cancelled'
    if (verb === 'close') job.info.closed = true
    fake.release()
    answer(200, job.info)
  }

  function create(request: typeof CreateJobRequest._output): FakeJob {
    const known = fake.jobs.find(({ info }) => info.name === request.name)
    if (known) return known
    const info: JobInfo = {
      id: fake.jobs.length + 1,
      name: request.name,
      context: request.context,
      function: request.function ?? 'echo',
      state: 'open',
      closed: false,
      tasks: 0,
      done: 0,
      failed: 0,
      retried: 0,
      createdAt: 1,
    }
    const job = { info, tasks: new Map<string, unknown>(), numeric: new Set<string>(), rows: [] }
    fake.jobs.push(job)
    return job
  }

  function add(job: FakeJob, { tasks }: AddTasksRequest) {
    const fresh = tasks.filter(({ key }) => !job.tasks.has(key))
    for (const { key, numeric, input } of fresh) {
      job.tasks.set(key, input)
      if (numeric) job.numeric.add(key)
    }
    if (fresh.length > 0) Object.assign(job.info, { state: 'open', closed: false })
    fake.release()
    return { added: fresh.length, known: tasks.length - fresh.length }
  }

  function retry(job: FakeJob) {
    const failed = job.rows.filter(({ status }) => status !== 'done')
    job.rows = job.rows.filter(({ status }) => status === 'done')
    job.info.retried += failed.length
    job.info.closed ||= job.info.state === 'cancelled'
    job.info.state = 'open'
    fake.release()
    return { retried: failed.length, job: job.info }
  }

  function find({ tasks, numeric, rows }: FakeJob, { keys }: { keys: string[] }): FindRowsResponse {
    const known = keys.filter((key) => tasks.has(key))
    const found = known.map((key) => {
      const result = rows.find((row) => row.key === key)
      return { key, numeric: numeric.has(key), ...(result && { result }) }
    })
    return { rows: found, looked: keys.length }
  }

  function errors({ rows }: FakeJob): JobErrors {
    const failed = rows.filter(({ status }) => status !== 'done')
    const kinds = [...Map.groupBy(failed, ({ error }) => error?.message).values()]
    return {
      failed: failed.length,
      kinds: kinds.length,
      errors: kinds.map((rows) => ({
        tasks: rows.length,
        error: rows[0]!.error!,
        example: { key: rows[0]!.key, worker: 'w1', node: 'n1' },
      })),
    }
  }

  async function results(job: FakeJob, query: URLSearchParams) {
    const after = Number(query.get('after'))
    const waitUntil = performance.now() + Number(query.get('waitMs'))
    const rest = () => waitUntil - performance.now()
    const rows = () => job.rows.filter(({ cursor }) => cursor > after)
    while (rows().length === 0 && job.info.state === 'open' && rest() > 0) {
      await Promise.race([wake.promise, new Promise((resolve) => setTimeout(resolve, rest()).unref())])
    }
    return { results: rows().slice(0, Number(query.get('limit'))), job: job.info }
  }

  await fake.start()
  return fake
}

function status(fake: FakeManager): Status {
  const sum = (count: (info: JobInfo) => number) =>
    fake.jobs.reduce((total, { info }) => total + count(info), 0)
  return {
    version: '0.0.0',
    startedAt: 0,
    now: 0,
    tasks: { queued: 0, leased: 0, done: sum(({ done }) => done), failed: sum(({ failed }) => failed) },
    rate: 0,
    duplicates: 0,
    evictions: 0,
    lost: 0,
    requeued: 0,
    jobs: fake.jobs.map(({ info }) => info),
    earlierJobs: 0,
    workers: [],
    sites: [],
    contexts: [],
    transfers: [],
  }
}
