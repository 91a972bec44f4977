import { setImmediate as nextTurn } from 'node:timers/promises'
import type { ProgressResponse, ResultRow } from '../../protocol/client.ts'
import { limits } from '../../protocol/primitives.ts'
import type { TaskInput } from '../task-batches.ts'
import { ApiError, GleanerError, InputError } from '../errors.ts'
import type { Job } from '../job.ts'
import type { BlobTransfer } from './blob-transfer.ts'
import { createKeys } from './call-keys.ts'
import { createProgressPoller } from './progress-poller.ts'
import type { PackedValue } from './value-codec.ts'

/** Longest wait for a factory to hear that no more calls will come, milliseconds. */
const CLOSE_MS = 5_000

type Heard = ProgressResponse['tasks'][number]

/** A call that was handed in. */
export interface SubmittedCall {
  key: string
  /** Rejected if the call cannot be made, or its job is cancelled. */
  row: Promise<ResultRow>
  /** Where it is, as was last heard; asks for news. */
  progress(): Heard | undefined
  /** Gives the call up: it is not run if it can be helped, and `row` does not settle. */
  cancel(): void
}

/** One job as an application uses it: calls go in, results come out. */
export interface JobCalls {
  /** @throws InputError if the input is too long */
  submit(input: PackedValue): SubmittedCall
  /** Stops reading results. With `cancel`, what has not ended yet is given up; otherwise the job goes on without us. */
  close(options: { cancel: boolean }): Promise<void>
}

/**
 * Opens a job for calls. Those that are made in one turn of the event loop are one submission; results come through one
 * feed, which is read only while a call waits for one.
 *
 * @param open makes the job, or finds it; asked when the first call is made
 */
export function openJobCalls(
  open: (signal: AbortSignal) => Promise<Job>,
  blobs: Pick<BlobTransfer, 'put'>,
): JobCalls {
  return new OpenJobCalls(open, blobs)
}

class OpenJobCalls implements JobCalls {
  readonly #open: (signal: AbortSignal) => Promise<Job>
  readonly #blobs: Pick<BlobTransfer, 'put'>
  readonly #keyOf = createKeys()
  readonly #closed = new AbortController()
  readonly #waiting = new Map<string, { task: TaskInput; call: PromiseWithResolvers<ResultRow> }>()
  /** Results for calls that an earlier start of the application made, and this one has not made yet. */
  readonly #early = new Map<string, ResultRow>()
  readonly #news = createProgressPoller<Heard>({
    ask: async (keys) => (await this.#job)?.progress(keys, { signal: this.#closed.signal }) ?? [],
    isOpen: (key) => this.#waiting.has(key),
  })
  #batch: TaskInput[] = []
  /** Keys of calls that are given up. */
  #unwanted: string[] = []
  #flushing = false
  #reading: AbortController | undefined
  #cursor = 0
  #epoch: string | undefined
  #job: Promise<Job> | undefined

  constructor(open: (signal: AbortSignal) => Promise<Job>, blobs: Pick<BlobTransfer, 'put'>) {
    this.#open = open
    this.#blobs = blobs
  }

  submit({ json, parts }: PackedValue): SubmittedCall {
    const text = JSON.stringify(json)
    if (Buffer.byteLength(text) > limits.value || parts.length > limits.blobs) {
      throw new InputError(
        `the arguments have too many large parts: give less, or put them into a file that workers see`,
      )
    }
    const key = this.#keyOf(text)
    const call = Promise.withResolvers<ResultRow>()
    const known = this.#early.get(key)
    if (known) {
      this.#early.delete(key)
      call.resolve(known)
    } else {
      const task = { key, input: json, ...(parts.length > 0 && { blobs: parts.map(({ ref }) => ref) }) }
      this.#waiting.set(key, { task, call })
      if (parts.length === 0) this.#enlist(task)
      else void this.#putAndEnlist(task, parts)
    }
    return {
      key,
      row: call.promise,
      progress: () => this.#news.of(key),
      cancel: () => {
        if (this.#waiting.delete(key)) void this.#giveUp(key)
      },
    }
  }

  async close({ cancel }: { cancel: boolean }): Promise<void> {
    const unfinished = this.#waiting.size > 0
    this.#closed.abort(new GleanerError('the connection to the factory was closed'))
    this.#fail(this.#waiting.keys(), this.#closed.signal.reason)
    const made = await this.#job?.catch(() => undefined)
    // A factory that is gone by now finds the job as it is when it comes back.
    const options = { signal: AbortSignal.timeout(CLOSE_MS) }
    await (cancel && unfinished ? made?.cancel(options) : made?.close(options))?.catch(() => {})
  }

  /** What failed is tried again for the next call. */
  #opened(): Promise<Job> {
    const opening = (this.#job ??= this.#open(this.#closed.signal))
    opening.catch(() => (this.#job = undefined))
    return opening
  }

  #fail(keys: Iterable<string>, error: unknown): void {
    for (const key of [...keys]) {
      this.#waiting.get(key)?.call.reject(error)
      this.#waiting.delete(key)
    }
  }

  #enlist(task: TaskInput): void {
    this.#batch.push(task)
    if (!this.#flushing) setImmediate(() => void this.#flush())
    this.#flushing = true
  }

  /** A call whose arguments are large is handed in once the factory has them; others do not wait for it. */
  async #putAndEnlist(task: TaskInput, parts: PackedValue['parts']): Promise<void> {
    try {
      await this.#blobs.put(parts, { signal: this.#closed.signal })
      this.#enlist(task)
    } catch (error) {
      this.#fail([task.key], error)
    }
  }

  async #flush(): Promise<void> {
    while (this.#batch.length > 0) {
      const tasks = this.#batch.filter(({ key }) => this.#waiting.has(key))
      this.#batch = []
      try {
        if (tasks.length > 0) await (await this.#opened()).add(tasks, { signal: this.#closed.signal })
        void this.#read()
      } catch (error) {
        const keys = tasks.map(({ key }) => key)
        this.#fail(keys, error)
      }
    }
    this.#flushing = false
  }

  /** Reads results for as long as calls wait for them. */
  async #read(): Promise<void> {
    if (this.#reading) return
    const reading = (this.#reading = new AbortController())
    try {
      const signal = AbortSignal.any([reading.signal, this.#closed.signal])
      while (this.#waiting.size > 0) await this.#readFeed(signal)
    } catch (error) {
      // When it was stopped, no caller waited any more.
      if (reading.signal.aborted) return void (this.#reading = undefined)
      const isOther =
        error instanceof ApiError && ['GLEANER_RESULTS_REWOUND', 'GLEANER_NOT_FOUND'].includes(error.code)
      if (isOther && this.#epoch !== undefined) this.#startOver()
      else this.#fail(this.#waiting.keys(), error)
    }
    this.#reading = undefined
    if (this.#waiting.size > 0) void this.#read()
  }

  async #readFeed(signal: AbortSignal): Promise<void> {
    const job = await this.#opened()
    const from = { after: this.#cursor, epoch: this.#epoch }
    for await (const page of job.pages({ ...from, exact: true, signal })) {
      for (const row of page.results) this.#take(row)
      this.#epoch = page.epoch
      if (page.job.state === 'cancelled' && page.results.length === 0) {
        throw new GleanerError(`job ${page.job.name} was cancelled`)
      }
      if (this.#waiting.size === 0) break
    }
  }

  #take(row: ResultRow): void {
    this.#cursor = row.cursor
    const found = this.#waiting.get(row.key)
    if (!found) this.#early.set(row.key, row)
    found?.call.resolve(row)
    this.#waiting.delete(row.key)
  }

  /** The factory's ledger was restored from a backup: of what it forgot, all is handed in again that is waited for. */
  #startOver(): void {
    this.#job = undefined
    this.#cursor = 0
    this.#epoch = undefined
    for (const { task } of this.#waiting.values()) this.#enlist(task)
  }

  /** Those that are given up in one turn are one request; those that were not submitted yet never will be. */
  async #giveUp(key: string): Promise<void> {
    if (this.#waiting.size === 0) this.#reading?.abort()
    if (this.#unwanted.push(key) > 1) return
    await nextTurn()
    const keys = this.#unwanted
    this.#unwanted = []
    // It would only save some work: if it fails, they run for nothing.
    await this.#job?.then((made) => made.cancelTasks(keys, { signal: this.#closed.signal })).catch(() => {})
  }
}
