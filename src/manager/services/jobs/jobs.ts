import type {
  AddTasksResponse,
  CreateJobRequest,
  JobErrors,
  JobInfo,
  JobOptions,
  ReceivedTasks,
  ResultsResponse,
  RetryResponse,
  TaskLog,
} from '../../../protocol/client.ts'
import type { BlobStore } from '../blob-store.ts'
import type { Contexts } from '../contexts/contexts.ts'
import type { Dispatcher } from '../dispatcher.ts'
import { notFound } from '../../http/api-errors.ts'
import { ErrorTally } from './job-errors.ts'
import { nameOfCancelled, nameTaken, noSuchJob, rewound, stillOpen, wasCancelled } from './job-refusals.ts'
import { type Job, type JobStand, standOf, stateOf } from './job-state.ts'
import type { JobRow } from '../../ledger/job-store.ts'
import type { Ledger } from '../../ledger/ledger.ts'
import type { StoredResult } from '../../ledger/result-store.ts'
import type { TakenBack } from '../../ledger/task-store.ts'
import { JobReaders } from './job-readers.ts'
import { newTrace } from './new-trace.ts'
import { changedTasks, toNewTasks } from './new-tasks.ts'

/** Most characters of results in one answer, unless a single one is larger. */
const PAGE_LENGTH = 16 << 20
/**
 * A job that has nothing to run is closed when no client has had to do with it for this long, milliseconds; one that belongs
 * to its client is deleted this long after it has ended.
 */
const FORGOTTEN_MS = 7 * 24 * 3_600_000

/** A page of results, values as text. */
export type ResultsPage = Omit<ResultsResponse, 'results'> & { results: StoredResult[] }

/** Jobs as clients see them, kept in step between ledger and scheduler. */
export class Jobs {
  readonly #ledger: Ledger
  readonly #dispatcher: Dispatcher
  readonly #contexts: Contexts
  readonly #blobs: BlobStore
  readonly #onWork: () => void
  readonly #jobs = new Map<number, Job>()
  /** Those who wait for results or the end of a job. */
  readonly #readers = new JobReaders()
  /** Called with each job of which something has changed, and with one that is there from now on. */
  onChange: (job: number) => void = () => {}

  /** @param onWork called when tasks come to wait where none did */
  constructor(
    ledger: Ledger,
    dispatcher: Dispatcher,
    contexts: Contexts,
    blobs: BlobStore,
    onWork: () => void,
  ) {
    this.#ledger = ledger
    this.#dispatcher = dispatcher
    this.#contexts = contexts
    this.#blobs = blobs
    this.#onWork = onWork
    for (const row of ledger.jobs.list()) this.#restore(row)
    dispatcher.on('results', (counts) => {
      for (const [id, { done, failed }] of counts) {
        const job = this.#jobs.get(id)!
        job.done += done
        job.failed += failed
        job.touchedAt = dispatcher.now
        this.#changed(job.row.id)
      }
    })
    dispatcher.on('context-broken', (context) => {
      for (const job of this.#jobs.values()) if (job.row.context === context) this.#changed(job.row.id)
    })
  }

  #restore(row: JobRow): void {
    const { tasks, done, failed } = this.#ledger.jobs.counts(row.id)
    const job = { ...this.#track(row), tasks, done, failed }
    this.#jobs.set(row.id, job)
    if (!row.cancelled) this.#resume(job)
  }

  /** Has what a job has not run yet run. */
  #resume(job: Job): void {
    const { row } = job
    if (stateOf(job) === 'finished') return
    this.#schedule(job)
    for (const [start, end] of this.#ledger.tasks.unfinished(row.id)) this.#queue(job, start, end)
    if (row.closed) this.#dispatcher.closeJob(row.id)
  }

  #track(row: JobRow): Job {
    const { now } = this.#dispatcher
    const errors = new ErrorTally(this.#ledger, row.id, row.traceparent)
    return { row, tasks: 0, done: 0, failed: 0, touchedAt: now, heardAt: now, errors }
  }

  #schedule({ row, done, failed }: Job): void {
    const { id, context, function: fn, options, traceparent } = row
    const { retries, timeLimitMs, priority } = options
    const limit = timeLimitMs === undefined ? {} : { timeLimitMs }
    this.#dispatcher.addJob(
      { id, context, function: fn, retries, priority, traceparent, ...limit },
      { done, failed },
    )
  }

  #queue({ row }: Job, start: number, end: number): void {
    this.#dispatcher.addTasks(row.id, start, end)
  }

  #changed(id: number): void {
    this.#readers.notify(id)
    this.onChange(id)
  }

  #get(id: number): Job {
    const job = this.#jobs.get(id)
    if (!job) throw noSuchJob(id)
    return job
  }

  /** The same, for a client that does something with it. */
  #touch(id: number): Job {
    const job = this.#get(id)
    job.touchedAt = job.heardAt = this.#dispatcher.now
    return job
  }

  /**
   * Ends the open jobs whose clients are gone: what has nothing to run is closed, and a client that comes back after all can
   * add to it; what has is cancelled, if it was to be given up with its client. Such jobs are deleted in the end: every start
   * of a program leaves one, and no client asks for it again.
   */
  async sweep(): Promise<void> {
    for (const job of [...this.#jobs.values()]) {
      if (stateOf(job) !== 'open') {
        const belongs = job.row.options.abandonMs !== undefined
        if (belongs && this.#dispatcher.now - job.touchedAt >= FORGOTTEN_MS) await this.forget(job.row.id)
        continue
      }
      const isIdle = job.done + job.failed === job.tasks
      const { abandonMs = isIdle ? FORGOTTEN_MS : Infinity } = job.row.options
      if (this.#dispatcher.now - job.heardAt < abandonMs) continue
      await (isIdle ? this.close(job.row.id) : this.cancel(job.row.id))
    }
  }

  /** Whether the blobs of a job are no longer needed. */
  isPast(id: number): boolean {
    const job = this.#jobs.get(id)
    if (!job) return true
    return stateOf(job) !== 'open' && this.#dispatcher.now - job.touchedAt >= job.row.options.keepMs
  }

  /**
   * Makes a job, or returns the one of that name.
   * @param passing its clients are gone when this process ends, and its tasks with them
   * @param traceparent the span that it is part of, for a new job. Default: it is a trace of its own
   * @throws {RequestError} 404 for an unknown context or function, 409 if the name is taken by a job that does something else,
   * or the files of the context are gone
   */
  async create(
    request: CreateJobRequest & { options: JobOptions },
    { passing = false, traceparent }: { passing?: boolean; traceparent?: string | undefined } = {},
  ): Promise<JobInfo> {
    const context = this.#contexts.named(request.context)
    const fn = this.#contexts.functionOf(context, request.function)
    await this.#contexts.requireFiles(context)
    const wanted = { name: request.name, context: context.id, function: fn, options: request.options }
    const made = { ...wanted, ...newTrace(traceparent), createdAt: this.#dispatcher.now }
    const found = await this.#ledger.jobs.add(made, { passing })
    if (!this.#jobs.has(found.id)) {
      const job = this.#track(found)
      this.#jobs.set(found.id, job)
      this.#schedule(job)
      this.#changed(found.id)
    }
    const { row } = this.#touch(found.id)
    if (row.cancelled) throw nameOfCancelled(row)
    if (row.context !== wanted.context || row.function !== wanted.function)
      throw nameTaken(row, this.#contexts.byId(row.context), { context: context.name, function: fn })
    this.#dispatcher.trustAgain(row.context)
    return this.info(row.id)
  }

  /**
   * Adds tasks; those that the job has already change nothing. A job that had ended goes on.
   * @param replace a task whose key the job has with another input makes way, and its result is taken back
   * @throws {RequestError} 400 for tasks that contradict each other; 409 for a job that was cancelled, a blob that is not there, or with the
   * code `GLEANER_INPUT_CHANGED` for a task that would have to be replaced: the others were added
   */
  async addTasks(id: number, tasks: ReceivedTasks['tasks'], replace = false): Promise<AddTasksResponse> {
    const job = this.#touch(id)
    if (job.row.cancelled) throw wasCancelled(job.row)
    for (const { key, blobs = [] } of tasks) this.#blobs.assertAll(blobs, `task ${key}`)
    const rows = toNewTasks(tasks, replace)
    const { start, end, known, changed, replaced } = await this.#ledger.tasks.add(id, rows, replace)
    if (job.row.cancelled) throw wasCancelled(job.row)
    if (replaced.length > 0) this.#takeBack(job, replaced)
    if (end > start) {
      if (job.row.closed) await this.#setClosed(job, false)
      if (!this.#dispatcher.view.hasJob(id)) this.#schedule(job)
      job.tasks += end - start
      const hadWork = this.#dispatcher.view.hasQueued()
      this.#queue(job, start, end)
      this.onChange(id)
      if (!hadWork) this.#onWork()
    }
    if (changed.length > 0) throw changedTasks(job.row, changed)
    return { added: end - start - replaced.length, known, changed: replaced.length }
  }

  #takeBack(job: Job, tasks: TakenBack[]): void {
    this.#dispatcher.takeBack(job.row.id, tasks)
    job.tasks -= tasks.length
    for (const { ended } of tasks) if (ended) job[ended]--
    job.errors.reset()
    this.#changed(job.row.id)
  }

  /** No more tasks will be added; the job ends with the last one. */
  async close(id: number): Promise<JobInfo> {
    const job = this.#touch(id)
    if (!job.row.closed) await this.#setClosed(job, true)
    this.#dispatcher.closeJob(id)
    this.#changed(job.row.id)
    return this.info(id)
  }

  async #setClosed(job: Job, closed: boolean): Promise<void> {
    await this.#ledger.jobs.setClosed(job.row.id, closed)
    job.row.closed = closed
  }

  /** Gives up what has no result yet; a job that has ended is left as it is. */
  async cancel(id: number): Promise<JobInfo> {
    const job = this.#touch(id)
    if (stateOf(job) !== 'open') return this.info(id)
    await this.#ledger.jobs.cancel(id)
    job.row.cancelled = true
    this.#dispatcher.cancelJob(id)
    this.#changed(job.row.id)
    return this.info(id)
  }

  /**
   * Runs the tasks that failed again, whatever has become of the job: a cancelled one also runs what it had not run yet.
   * @throws {RequestError} 409 if the files of its context are gone
   */
  async retry(id: number): Promise<RetryResponse> {
    const job = this.#touch(id)
    const { row } = job
    await this.#contexts.requireFiles(this.#contexts.byId(row.context))
    await this.#ledger.jobs.reopen(id)
    this.#dispatcher.trustAgain(row.context)
    if (row.cancelled) {
      row.closed = true
      row.cancelled = false
      this.#resume(job)
    }
    let retried = 0
    for await (const tasks of this.#ledger.results.takeBackFailures(id)) {
      retried += tasks.length
      row.retried += tasks.length
      this.#queueAgain(job, tasks)
      job.failed -= tasks.length
    }
    job.errors.reset()
    this.#changed(job.row.id)
    this.#onWork()
    return { retried, job: this.info(id) }
  }

  /** Queues tasks whose failures were taken back, but are still counted. */
  #queueAgain(job: Job, tasks: number[]): void {
    const { id, closed } = job.row
    const hasEnded = !this.#dispatcher.view.hasJob(id)
    if (hasEnded) this.#schedule(job)
    this.#dispatcher.retryTasks(id, tasks)
    if (hasEnded && closed) this.#dispatcher.closeJob(id)
  }

  /** In what ways its tasks failed. */
  errors(id: number): Promise<JobErrors> {
    return this.#get(id).errors.read()
  }

  /**
   * Deletes a job that has ended, with its tasks, results and logs.
   * @throws {RequestError} 409 while it is open
   */
  async forget(id: number): Promise<JobInfo> {
    const job = this.#get(id)
    const info = this.info(id)
    if (info.state === 'open') throw stillOpen(id)
    // Nothing is added to it from now on, also if we are killed half-way.
    job.row.cancelled = true
    await this.#ledger.jobs.cancel(id)
    await this.#ledger.jobs.forget(id)
    this.#jobs.delete(id)
    this.#changed(job.row.id)
    return info
  }

  /** Gives up those of these tasks that have no result yet; they count as failed. */
  async cancelTasks(id: number, keys: string[]): Promise<{ cancelled: number }> {
    this.#get(id)
    const tasks = await this.#ledger.tasks.releaseKeys(id, keys)
    this.#dispatcher.cancelTasks(id, tasks)
    return { cancelled: tasks.length }
  }

  /** How far a job is; undefined if it was forgotten. */
  stand(id: number): JobStand | undefined {
    const job = this.#jobs.get(id)
    return job && standOf(job)
  }

  info(id: number): JobInfo {
    const { row, tasks, done, failed } = this.#get(id)
    const context = this.#contexts.byId(row.context)
    const problem = this.#contexts.problemOf(row.context)
    const doubt = this.#contexts.doubtOf(row.context)
    const state = stateOf(this.#get(id))
    return {
      id,
      name: row.name,
      context: context.name,
      contextId: row.context,
      function: row.function,
      state,
      closed: row.closed,
      tasks,
      done,
      failed,
      retried: row.retried,
      ...(problem !== undefined && state === 'open' ? { problem } : {}),
      ...(doubt !== undefined && state === 'open' ? { doubt } : {}),
      createdAt: row.createdAt,
      traceparent: row.traceparent,
    }
  }

  /** @throws {RequestError} 404 if the job has no task of that key */
  log(id: number, key: string): TaskLog {
    const { row } = this.#get(id)
    const found = this.#ledger.results.log(id, key)
    if (!found) throw notFound(`job ${id} ("${row.name}") has no task "${key}"`)
    return found
  }

  /** The span of the client that asked for a job; undefined if it had none. */
  parentSpanOf(id: number): string | undefined {
    return this.#get(id).row.parentSpan
  }

  /** The identity of the context that a job runs in. */
  contextOf(id: number): string {
    return this.#get(id).row.context
  }

  list(): JobInfo[] {
    return [...this.#jobs.keys()].map((id) => this.info(id))
  }

  /**
   * The job's results after a cursor. With none yet, waits until there are some, the job's state changes, or `waitMs` is over.
   * @param from the cursor, and the epoch that came with it
   * @throws {RequestError} 409 `GLEANER_RESULTS_REWOUND` if the cursor is void: the results have to be read anew
   */
  async results(
    id: number,
    { after, epoch }: { after: number; epoch?: string | undefined },
    limit: number,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<ResultsPage> {
    const job = this.#touch(id)
    const read = () => {
      if (epoch !== undefined && !this.#ledger.epochs.holds(id, epoch)) throw rewound(job.row)
      return this.#ledger.results.page(id, after, limit, PAGE_LENGTH)
    }
    let results = read()
    if (
      results.length === 0 &&
      waitMs > 0 &&
      stateOf(job) === 'open' &&
      this.info(id).problem === undefined
    ) {
      await this.#readers.wait(id, waitMs, signal)
      results = read()
    }
    return { results, epoch: this.#ledger.epochs.of(id), job: this.info(id) }
  }
}
