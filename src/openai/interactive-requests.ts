import { randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import { createWakeUp } from '../common/wake-up.ts'
import type { Jobs } from '../manager/services/jobs/jobs.ts'
import type { PartReader, TaskPart, TaskParts } from '../manager/services/jobs/task-parts.ts'
import { JobOptions } from '../protocol/client.ts'
import type { ContextSpec } from '../protocol/contexts/context.ts'
import type { JsonText } from '../protocol/json/json-text.ts'
import { ApiFailure, failureOfTask } from './error-bodies.ts'

/** Requests that a client waits for go before the work of batches. */
const PRIORITY = 500
/** A job takes calls for so long, milliseconds, and so many of them; then the next one does, and it is deleted when all have ended. */
const JOB_MS = 60_000
const JOB_CALLS = 20_000
/** Results that are read at once, and how long a look for them lasts, milliseconds. */
const PAGE = 1_000
const LOOK_MS = 30_000
/** Most requests that wait at once, in all. */
const MOST_WAITING = 10_000

/** What jobs of single calls are called: what is left of an earlier start is deleted. */
const PREFIX = 'api/'

interface Waiting {
  resolve: (value: JsonText) => void
  reject: (error: ApiFailure) => void
}

/** One job that takes single calls of one function, and who waits for their results. */
interface CallJob {
  readonly id: number
  readonly until: number
  calls: number
  closed: boolean
  readonly waiting: Map<string, Waiting>
}

export interface SingleCallsOptions {
  jobs: Jobs
  parts: TaskParts
  log: Logger
}

/** Runs calls whose callers wait, each as a task of a job that is shared with others and deleted soon. */
export class SingleCalls {
  readonly #jobs: Jobs
  readonly #parts: TaskParts
  readonly #log: Logger
  readonly #open = new Map<string, Promise<CallJob>>()
  readonly #stopped = new AbortController()
  readonly #readers = new Set<Promise<void>>()
  #waiting = 0
  #calls = 0

  constructor({ jobs, parts, log }: SingleCallsOptions) {
    this.#jobs = jobs
    this.#parts = parts
    this.#log = log
  }

  /** Deletes what calls of an earlier start have left: no client waits for them any more. */
  async clear(): Promise<void> {
    for (const { id, name } of this.#jobs.list()) {
      if (!name.startsWith(PREFIX)) continue
      await this.#jobs.cancel(id)
      await this.#jobs.forget(id)
    }
  }

  /**
   * The value of a function for an input, as JSON text.
   *
   * @param signal the call is not wanted any more, and not run if it can be helped: its reason is what this throws
   * @param onPart hears of parts of the value ahead of it
   * @throws {ApiFailure} 400 for what the function says of its input, 503 if nothing can run, 500 for what else went wrong
   */
  async call(
    context: ContextSpec,
    fn: string,
    input: JsonText,
    signal: AbortSignal,
    onPart?: PartReader,
  ): Promise<JsonText> {
    if (this.#waiting >= MOST_WAITING)
      throw new ApiFailure(429, `${MOST_WAITING} requests wait already: try again soon`, {
        code: 'too_many_requests',
      })
    this.#waiting++
    try {
      const job = await this.#jobFor(context, fn)
      return await this.#callIn(job, input, signal, onPart)
    } finally {
      this.#waiting--
    }
  }

  /**
   * The same, with the parts of the value as they come before it.
   *
   * @throws {ApiFailure} as {@link call} does
   */
  async *follow(
    context: ContextSpec,
    fn: string,
    input: JsonText,
    signal: AbortSignal,
  ): AsyncGenerator<TaskPart | JsonText> {
    const come: TaskPart[] = []
    const bell = createWakeUp()
    let isOver = false
    const value = this.call(context, fn, input, signal, (part) => {
      come.push(part)
      bell.wake()
    })
    const end = () => {
      isOver = true
      bell.wake()
    }
    value.then(end, end)
    while (!isOver) {
      for (let part; (part = come.shift());) yield part
      if (!isOver) await bell.wait(Infinity)
    }
    yield await value
  }

  async #callIn(
    job: CallJob,
    input: JsonText,
    signal: AbortSignal,
    onPart: PartReader | undefined,
  ): Promise<JsonText> {
    // Numbers that grow keep the ledger's writes together.
    const key = String(this.#calls++)
    const stopReading = onPart && this.#parts.read(job.id, key, onPart)
    const { promise, resolve, reject } = Promise.withResolvers<JsonText>()
    promise.catch(() => {})
    job.waiting.set(key, { resolve, reject })
    const onAbort = () => {
      job.waiting.delete(key)
      reject(signal.reason as ApiFailure)
      this.#jobs.cancelTasks(job.id, [key]).catch(() => {})
    }
    try {
      await this.#jobs.addTasks(job.id, [{ key, input }])
    } catch (error) {
      stopReading?.()
      job.waiting.delete(key)
      throw error
    }
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort)
    try {
      return await promise
    } finally {
      stopReading?.()
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** The job that takes calls of a function now. It counts the call as its own. */
  async #jobFor(context: ContextSpec, fn: string): Promise<CallJob> {
    const key = `${context.id} ${fn}`
    for (;;) {
      const open = this.#open.get(key)
      const job = await open
      if (job && !job.closed && job.calls < JOB_CALLS && Date.now() < job.until) {
        job.calls++
        return job
      }
      // Of several that find none, the first makes it for all.
      if (this.#open.get(key) !== open) continue
      if (job) job.closed = true
      const making = this.#makeJob(context, fn)
      this.#open.set(key, making)
      making.catch(() => this.#open.delete(key))
    }
  }

  async #makeJob(context: ContextSpec, fn: string): Promise<CallJob> {
    const options = JobOptions.parse({ priority: PRIORITY, retries: 0, keepMs: 0 })
    const name = `${PREFIX}${randomUUID()}`
    const wanted = { name, context: context.name, function: fn, options }
    const { id } = await this.#jobs.create(wanted, { passing: true })
    const job: CallJob = { id, until: Date.now() + JOB_MS, calls: 0, closed: false, waiting: new Map() }
    const reader = this.#read(job)
      .catch((error: unknown) => this.#giveUp(job, error))
      .finally(() => this.#readers.delete(reader))
    this.#readers.add(reader)
    return job
  }

  /** Reads a job's results until it takes no more calls and all have ended, and deletes it. */
  async #read(job: CallJob): Promise<void> {
    const { signal } = this.#stopped
    let after = 0
    while (!signal.aborted) {
      const look = Math.max(1, Math.min(LOOK_MS, job.until - Date.now() + 1))
      const { results, job: info } = await this.#jobs.results(job.id, { after }, PAGE, look, signal)
      for (const row of results) {
        after = row.cursor
        const waiting = job.waiting.get(row.key)
        job.waiting.delete(row.key)
        if (row.status === 'done' && row.value) waiting?.resolve(row.value)
        else waiting?.reject(failureOfTask(row.status === 'done' ? undefined : row.error))
      }
      if (info.problem !== undefined)
        this.#giveUp(job, new ApiFailure(503, info.problem, { code: 'context_failed' }))
      if (Date.now() >= job.until || job.calls >= JOB_CALLS) job.closed = true
      if (job.closed && job.waiting.size === 0 && info.done + info.failed === info.tasks) break
    }
    if (signal.aborted) return
    await this.#jobs.cancel(job.id)
    await this.#jobs.forget(job.id)
  }

  #giveUp(job: CallJob, error: unknown): void {
    if (!(error instanceof ApiFailure)) this.#log.error({ err: error }, 'calls of the API cannot be read')
    const failure =
      error instanceof ApiFailure ? error : new ApiFailure(500, 'the manager failed; its log says more')
    for (const { reject } of job.waiting.values()) reject(failure)
    job.waiting.clear()
    job.closed = true
  }

  /** Ends the waiting of all. */
  async close(): Promise<void> {
    this.#stopped.abort()
    for (const open of this.#open.values()) {
      const job = await open.catch(() => undefined)
      if (job) this.#giveUp(job, new ApiFailure(503, 'the factory stops'))
    }
    await Promise.all(this.#readers)
  }
}
