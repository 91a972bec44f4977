import type { BlobStore } from '../../services/blob-store.ts'
import type { ApiKeys } from '../../services/api-keys.ts'
import type { Contexts } from '../../services/contexts/contexts.ts'
import type { Jobs, ResultsPage } from '../../services/jobs/jobs.ts'
import type { TaskProgress } from '../../services/jobs/task-progress.ts'
import { resultText, type TaskRows } from '../../services/jobs/task-rows.ts'
import type { StatusBoard } from '../../services/status-board.ts'
import type { ManagerHandlers } from './handlers.ts'

export interface ClientRoutes {
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

/** What users' programs and the command line ask. */
export function clientHandlers(services: ClientRoutes) {
  const { contexts, blobs, keys, board, backUp, onStop } = services
  return {
    status: () => board.read(),
    contexts: () => ({ contexts: contexts.list(), packing: contexts.packing }),
    addContext: ({ body: { path, keepMs } }) => contexts.register(path, keepMs),
    uploadContext: ({ body }) => contexts.upload(body, blobs),
    warmContext: ({ params }) => contexts.warm(params.name),
    dropContext: ({ params }) => contexts.drop(params.name),
    wantedBlobs: ({ body }) => ({ wanted: blobs.wanted(body.blobs) }),
    ...jobHandlers(services),
    keys: () => ({ keys: keys.list() }),
    createKey: ({ body }) => keys.create(body),
    revokeKey: ({ params }) => keys.revoke(params.name),
    async backup({ body }) {
      const bytes = await backUp(body.file)
      return { bytes, blobBytes: blobs.bytes }
    },
    stop({ body }) {
      setImmediate(() => onStop(body))
      return { stopping: true }
    },
  } satisfies Partial<ManagerHandlers>
}

function jobHandlers({ jobs, progress, rows }: Pick<ClientRoutes, 'jobs' | 'progress' | 'rows'>) {
  return {
    jobs: () => ({ jobs: jobs.list() }),
    createJob: ({ body, request: { headers } }) =>
      jobs.create(body, { traceparent: String(headers.traceparent ?? '') }),
    job: ({ params }) => jobs.info(params.job),
    addTasks: ({ params, query, body }) => jobs.addTasks(params.job, body.tasks, query.replace !== undefined),
    cancelTasks: ({ params, body }) => jobs.cancelTasks(params.job, body.keys),
    taskProgress({ params, body }) {
      const { id } = jobs.info(params.job)
      return progress.read(id, body.keys)
    },
    closeJob: ({ params }) => jobs.close(params.job),
    cancelJob: ({ params }) => jobs.cancel(params.job),
    retryJob: ({ params }) => jobs.retry(params.job),
    forgetJob: ({ params }) => jobs.forget(params.job),
    jobErrors: ({ params }) => jobs.errors(params.job),
    taskLog: ({ params, query }) => jobs.log(params.job, query.key),
    async results({ params, query, reply }) {
      const { after, epoch, limit, waitMs, values } = query
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort())
      const page = await jobs.results(params.job, { after, epoch }, limit, waitMs, gone.signal)
      const results = values ? page.results : page.results.map(({ value: _, ...row }) => row)
      return reply.type('application/json').send(pageText({ ...page, results }))
    },
    rows({ params, query: { after, limit }, reply }) {
      const { id } = jobs.info(params.job)
      return reply.type('application/json').send(rows.page(id, after, limit).text)
    },
    findRows({ params, body, reply }) {
      const { id } = jobs.info(params.job)
      return reply.type('application/json').send(rows.find(id, body).text)
    },
  } satisfies Partial<ManagerHandlers>
}

/** A page of results as JSON; values go from the ledger to the wire as the text they are. */
function pageText({ results, ...rest }: ResultsPage): string {
  return `${JSON.stringify(rest).slice(0, -1)},"results":[${results.map(resultText).join(',')}]}`
}
