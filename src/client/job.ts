import type {
  AddTasksResponse as Added,
  JobErrors,
  JobInfo,
  ProgressResponse,
  ResultRow,
  ResultsResponse,
  RetryResponse,
  TaskLog,
  TaskRow,
} from '../protocol/client.ts'
import type { JobExplanation } from '../protocol/explanation.ts'
import { JsonText } from '../protocol/json/json-text.ts'
import { limits } from '../protocol/primitives.ts'
import { userRoutes as routes } from '../protocol/routes/user-routes.ts'
import { toBatches, type TaskInput } from './task-batches.ts'
import type { CallOptions, HttpClient } from './http-client.ts'
import { resultPages, type ResultOptions, taskRows } from './job-pages.ts'

export interface AddOptions extends CallOptions {
  /** Told of each batch once the manager has committed it. */
  onBatch?: (added: Added) => void
  /** A task whose key the job has with another input takes the place of the old one, whose result is taken back. Default: false. */
  replace?: boolean
}

/** One job at the manager: a set of tasks submitted together. */
export interface Job {
  readonly id: number
  info(options?: CallOptions): Promise<JobInfo>
  /**
   * Adds tasks, in batches, as fast as the manager commits them. Tasks that the job has already are left alone, so
   * adding a whole input again after an interruption is safe.
   *
   * @throws ApiError with the code `changed` if the job has one of these keys with another input, unless `replace` is given
   */
  add(tasks: Iterable<TaskInput> | AsyncIterable<TaskInput>, options?: AddOptions): Promise<Added>
  /** Says that no more tasks will be added: the job finishes when its last task has a result. */
  close(options?: CallOptions): Promise<JobInfo>
  /** Gives up every task that has no result yet. */
  cancel(options?: CallOptions): Promise<JobInfo>
  /**
   * Runs the tasks that failed again, whatever has become of the job; a cancelled one also runs what it had not run yet. Their
   * new results come behind all that were there before.
   */
  retry(options?: CallOptions): Promise<RetryResponse>
  /** In what ways its tasks failed, the commonest first. */
  errors(options?: CallOptions): Promise<JobErrors>
  /** Why the job, or one task of it, is not running or not finished. */
  explain(options?: CallOptions & { key?: string | undefined }): Promise<JobExplanation>
  /** Has the factory forget a job that has ended: its tasks, results and logs. */
  forget(options?: CallOptions): Promise<JobInfo>
  /**
   * Gives up those tasks, by their keys, that have no result yet: they count as failed, and adding them again runs them.
   * @returns how many there were
   */
  cancelTasks(keys: string[], options?: CallOptions): Promise<number>
  /** Where those of these tasks are, by their keys (1000 at most), that have no result yet. */
  progress(keys: string[], options?: CallOptions): Promise<ProgressResponse['tasks']>
  /** What became of one task, by its key, and the end of what it printed. */
  log(key: string, options?: CallOptions): Promise<TaskLog>
  /**
   * Results in the order in which they came, from a cursor on, waiting for new ones until the job is finished or
   * cancelled. The order never changes: a reader that kept the last row's `cursor` goes on behind it.
   *
   * @throws JobStuckError once all results there are have been read and nothing more of the job can run; ApiError with the code
   * `rewound` if what was read has been taken back since, by tasks that were replaced or a ledger that was restored from a backup:
   * read on from the first result then
   */
  results(options?: ResultOptions): AsyncGenerator<ResultRow, void, undefined>
  /** The same, a page at a time, each with the job's counts; an empty page means that nothing new came within `waitMs`. */
  pages(options?: ResultOptions): AsyncGenerator<ResultsResponse, void, undefined>
  /** Its tasks in the order in which they were added, each with its input, and its result if it has one. Numbers keep their texts. */
  rows(options?: CallOptions): AsyncGenerator<TaskRow, void, undefined>
  /** The tasks of these keys with their results, without inputs. Keys that the job does not have are left out. */
  findResults(keys: readonly string[], options?: CallOptions): Promise<TaskRow[]>
}

/** Keys that are looked up in one request. */
const FOUND_AT_ONCE = 500
/** Deleting tens of millions of results takes this long at worst, milliseconds. */
const FORGETTING_MS = 30 * 60_000

/** The job of that number. Asks the manager nothing until it is used. */
export function jobHandle({ call }: HttpClient, id: number): Job {
  const params = { job: id }

  async function add(
    tasks: Iterable<TaskInput> | AsyncIterable<TaskInput>,
    { signal, onBatch, replace = false }: AddOptions = {},
  ): Promise<Added> {
    const total = { added: 0, known: 0, changed: 0 }
    for await (const body of toBatches(tasks)) {
      const query = replace ? { replace } : {}
      const batch = await call(routes.addTasks, { params, query, body: new JsonText(body), signal })
      total.added += batch.added
      total.known += batch.known
      total.changed += batch.changed
      onBatch?.(batch)
    }
    return total
  }

  async function findResults(keys: readonly string[], { signal }: CallOptions = {}) {
    const found: TaskRow[] = []
    for (let at = 0; at < keys.length;) {
      const body = { keys: keys.slice(at, at + FOUND_AT_ONCE), resultsOnly: true }
      const { rows, looked } = await call(routes.findRows, { params, body, signal })
      found.push(...rows)
      at += looked
    }
    return found
  }

  async function* results(options?: ResultOptions) {
    for await (const page of resultPages(call, id, options)) yield* page.results
  }

  return {
    id,
    info: ({ signal } = {}) => call(routes.job, { params, signal }),
    add,
    close: ({ signal } = {}) => call(routes.closeJob, { params, signal }),
    cancel: ({ signal } = {}) => call(routes.cancelJob, { params, signal }),
    retry: ({ signal } = {}) => call(routes.retryJob, { params, timeoutMs: FORGETTING_MS, signal }),
    errors: ({ signal } = {}) => call(routes.jobErrors, { params, signal }),
    explain: ({ key, signal } = {}) => call(routes.explainJob, { params, query: { key }, signal }),
    forget: ({ signal } = {}) => call(routes.forgetJob, { params, timeoutMs: FORGETTING_MS, signal }),
    async cancelTasks(keys, { signal } = {}) {
      let total = 0
      for (let at = 0; at < keys.length; at += limits.batch) {
        const body = { keys: keys.slice(at, at + limits.batch) }
        total += (await call(routes.cancelTasks, { params, body, signal })).cancelled
      }
      return total
    },
    progress: async (keys, { signal } = {}) =>
      (await call(routes.taskProgress, { params, body: { keys }, signal })).tasks,
    log: (key, { signal } = {}) => call(routes.taskLog, { params, query: { key }, signal }),
    results,
    pages: (options) => resultPages(call, id, options),
    rows: (options) => taskRows(call, id, options),
    findResults,
  }
}
