import type { FastifyInstance, onRequestHookHandler } from 'fastify'
import { z } from 'zod'
import { WantedBlobsRequest, type WantedBlobsResponse } from '../../../protocol/blob.ts'
import {
  AddContextRequest,
  BackupRequest,
  CancelTasksRequest,
  CreateKeyRequest,
  type BackupResponse,
  ProgressRequest,
  CreateJobRequest,
  FindRowsRequest,
  ReceivedTasks,
  StopRequest,
  UploadContextRequest,
} from '../../../protocol/client.ts'
import { Digits, limits, Name } from '../../../protocol/primitives.ts'
import type { ApiKeys } from '../../services/api-keys.ts'
import type { BlobStore } from '../../services/blob-store.ts'
import type { Contexts } from '../../services/contexts/contexts.ts'
import { unauthorised } from '../api-errors.ts'
import type { Jobs, ResultsPage } from '../../services/jobs/jobs.ts'
import type { TaskProgress } from '../../services/jobs/task-progress.ts'
import { resultText, type TaskRows } from '../../services/jobs/task-rows.ts'
import { parse } from '../server.ts'
import type { StatusBoard } from '../../services/status-board.ts'
import { bearer, matches } from '../../services/tokens.ts'

const NameParams = z.object({ name: Name })
const JobParams = z.object({ job: Digits })
const LogQuery = z.object({ key: z.string().min(1).max(limits.key) })
const AddTasksQuery = z.object({ replace: z.literal('true').optional() })
const ResultsQuery = z.object({
  after: Digits.default(0),
  epoch: z.string().max(100).optional(),
  limit: Digits.pipe(z.int().min(1).max(limits.batch)).default(1000),
  waitMs: Digits.pipe(z.int().max(limits.wait)).default(0),
  values: z
    .enum(['true', 'false'])
    .default('true')
    .transform((text) => text === 'true'),
})
const RowsQuery = ResultsQuery.pick({ after: true, limit: true })

export interface ClientRoutes {
  /** Hash of the user's token. */
  user: Uint8Array
  jobs: Jobs
  contexts: Contexts
  blobs: BlobStore
  keys: ApiKeys
  progress: TaskProgress
  rows: TaskRows
  board: StatusBoard
  /** Copies the ledger to a new file; returns its size in bytes. */
  backUp: (file: string) => Promise<number>
  /** Called once for `POST /v1/stop`. */
  onStop: (options: { drain: boolean }) => void
}

/** Lets in who has the user's token. */
export function userOnly(user: Uint8Array): onRequestHookHandler {
  return (request, _reply, done) => {
    const token = bearer(request.headers.authorization)
    if (token === undefined || !matches(token, user)) throw unauthorised()
    done()
  }
}

/** What users' programs and the command line ask. */
export function clientRoutes(
  server: FastifyInstance,
  { user, jobs, contexts, blobs, keys, progress, rows, board, backUp, onStop }: ClientRoutes,
): void {
  server.addHook('onRequest', userOnly(user))

  server.get('/v1/status', () => board.read())

  server.get('/v1/contexts', () => ({ contexts: contexts.list() }))
  const small = { bodyLimit: limits.smallBody }
  server.post('/v1/contexts', small, ({ body }) => {
    const { path, keepMs } = parse(AddContextRequest, body)
    return contexts.register(path, keepMs)
  })

  server.post('/v1/contexts/upload', { bodyLimit: limits.value }, ({ body }) =>
    contexts.upload(parse(UploadContextRequest, body), blobs),
  )
  server.post('/v1/contexts/:name/warm', small, ({ params }) => contexts.warm(parse(NameParams, params).name))
  server.post('/v1/contexts/:name/drop', small, ({ params }) => contexts.drop(parse(NameParams, params).name))

  server.post('/v1/blobs', small, ({ body }): WantedBlobsResponse => ({
    wanted: blobs.wanted(parse(WantedBlobsRequest, body).blobs),
  }))

  server.get('/v1/jobs', () => ({ jobs: jobs.list() }))
  server.post('/v1/jobs', small, ({ body }) => jobs.create(parse(CreateJobRequest, body)))
  server.get('/v1/jobs/:job', ({ params }) => jobs.info(parse(JobParams, params).job))
  const keep = ['tasks', '*', 'input'] as const
  server.post('/v1/jobs/:job/tasks', { config: { keep } }, ({ params, query, body }) =>
    jobs.addTasks(
      parse(JobParams, params).job,
      parse(ReceivedTasks, body).tasks,
      parse(AddTasksQuery, query).replace !== undefined,
    ),
  )
  server.post('/v1/jobs/:job/tasks/cancel', ({ params, body }) =>
    jobs.cancelTasks(parse(JobParams, params).job, parse(CancelTasksRequest, body).keys),
  )
  server.post('/v1/jobs/:job/tasks/progress', small, ({ params, body }) => {
    const { id } = jobs.info(parse(JobParams, params).job)
    return progress.read(id, parse(ProgressRequest, body).keys)
  })
  server.post('/v1/jobs/:job/close', small, ({ params }) => jobs.close(parse(JobParams, params).job))
  server.post('/v1/jobs/:job/cancel', small, ({ params }) => jobs.cancel(parse(JobParams, params).job))
  server.post('/v1/jobs/:job/retry', small, ({ params }) => jobs.retry(parse(JobParams, params).job))
  server.get('/v1/jobs/:job/errors', ({ params }) => jobs.errors(parse(JobParams, params).job))
  server.post('/v1/jobs/:job/forget', small, ({ params }) => jobs.forget(parse(JobParams, params).job))
  server.get('/v1/jobs/:job/log', ({ params, query }) =>
    jobs.log(parse(JobParams, params).job, parse(LogQuery, query).key),
  )
  server.get('/v1/jobs/:job/results', async ({ params, query }, reply) => {
    const { after, epoch, limit, waitMs, values } = parse(ResultsQuery, query)
    const gone = new AbortController()
    reply.raw.once('close', () => gone.abort())
    const { job } = parse(JobParams, params)
    const page = await jobs.results(job, { after, epoch }, limit, waitMs, gone.signal)
    const results = values ? page.results : page.results.map(({ value: _, ...row }) => row)
    return reply.type('application/json').send(pageText({ ...page, results }))
  })

  server.get('/v1/jobs/:job/rows', ({ params, query }, reply) => {
    const { id } = jobs.info(parse(JobParams, params).job)
    const { after, limit } = parse(RowsQuery, query)
    return reply.type('application/json').send(rows.page(id, after, limit).text)
  })
  server.post('/v1/jobs/:job/rows', small, ({ params, body }, reply) => {
    const { id } = jobs.info(parse(JobParams, params).job)
    return reply.type('application/json').send(rows.find(id, parse(FindRowsRequest, body)).text)
  })

  server.get('/v1/keys', () => ({ keys: keys.list() }))
  server.post('/v1/keys', small, ({ body }) => keys.create(parse(CreateKeyRequest, body)))
  server.post('/v1/keys/:name/revoke', small, ({ params }) => keys.revoke(parse(NameParams, params).name))

  server.post('/v1/backup', small, async ({ body }): Promise<BackupResponse> => {
    const bytes = await backUp(parse(BackupRequest, body).file)
    return { bytes, blobBytes: blobs.bytes }
  })

  server.post('/v1/stop', small, ({ body = {} }) => {
    const options = parse(StopRequest, body)
    setImmediate(() => onStop(options))
    return { stopping: true }
  })
}

/** A page of results as JSON; values go from the ledger to the wire as the text they are. */
function pageText({ results, ...rest }: ResultsPage): string {
  return `${JSON.stringify(rest).slice(0, -1)},"results":[${results.map(resultText).join(',')}]}`
}
