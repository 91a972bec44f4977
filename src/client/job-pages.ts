import type { ResultRow, ResultsResponse, RowsResponse, TaskRow } from '../protocol/client.ts'
import { toNative } from '../protocol/json/exact-numbers.ts'
import { userRoutes as routes } from '../protocol/routes/user-routes.ts'
import { JobStuckError } from './errors.ts'
import type { CallOptions, HttpClient } from './http-client.ts'

export interface ResultOptions extends CallOptions {
  /** Start behind this cursor. Default: 0, the job's first result. */
  after?: number
  /** The `epoch` of the page that gave the cursor: without it, nothing tells a cursor that is void. */
  epoch?: string | undefined
  /**
   * Leave numbers in values as the text they came as (`JSON.rawJSON`), if JavaScript's would be written differently: then
   * `JSON.stringify` writes what was sent. Default: integers beyond 2^53 are bigints, other numbers the nearest there are.
   */
  exact?: boolean
  /** Most results in one page. Default: 1000. */
  limit?: number
  /** How long the manager may hold a page back while there is no new result, milliseconds. Default: 20 s. */
  waitMs?: number
  /** Whether results come with their values. Default: true. */
  values?: boolean
}

/** Time for the answer on top of the time the manager may hold it back, milliseconds. */
const SLACK_MS = 30_000

/** A job's results, a page at a time. @throws JobStuckError as `Job.results` does */
export async function* resultPages(
  call: HttpClient['call'],
  job: number,
  options: ResultOptions = {},
): AsyncGenerator<ResultsResponse, void, undefined> {
  const { exact = false, limit = 1000, waitMs = 20_000, values = true, signal } = options
  let { after = 0, epoch } = options
  for (let open = true; ;) {
    const query = {
      ...{ after, limit },
      epoch: epoch || undefined,
      waitMs: open ? waitMs : 0,
      ...(!values && { values }),
    }
    const timeoutMs = waitMs + SLACK_MS
    const page: ResultsResponse = await call(routes.results, { params: { job }, query, timeoutMs, signal })
    // The counts of a page may be younger than its rows: a job is read out only when it has ended and nothing is left.
    if (!open && page.results.length === 0) return
    open = page.job.state === 'open'
    after = page.results.at(-1)?.cursor ?? after
    epoch = page.epoch
    yield exact ? page : { ...page, results: page.results.map(nativeRow) }
    if (open && page.results.length === 0 && page.job.problem !== undefined) {
      throw new JobStuckError(`job ${page.job.name}: ${page.job.problem}`)
    }
  }
}

const nativeRow = (row: ResultRow): ResultRow => ({
  ...row,
  value: toNative(row.value) as ResultRow['value'],
})

/** A job's tasks in the order in which they were added. */
export async function* taskRows(
  call: HttpClient['call'],
  job: number,
  { signal }: CallOptions = {},
): AsyncGenerator<TaskRow, void, undefined> {
  for (let after: number | undefined = 0; after !== undefined;) {
    const query = { after, limit: 1000 }
    const page: RowsResponse = await call(routes.rows, { params: { job }, query, signal })
    yield* page.rows
    after = page.next
  }
}
