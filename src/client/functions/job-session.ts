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
export interface JobSession {
  /** @throws InputError if the input is too long */
  submit(input: PackedValue): SubmittedCall
  /** Stops reading results. With `cancel`, what has not ended yet is given up; otherwise the job goes on without us. */
  close(options: { cancel: boolean }): Promise<void>
}

/**
 * Makes a session of a job. Calls that are made in one turn of the event loop are one submission; results come through one
 * feed, which is read only while a call waits for one.
 *
 * @param open makes the job, or finds it; asked when the first call is made
 */
export function openJobSession(
  open: (signal: AbortSignal) => Promise<Job>,
  blobs: Pick<BlobTransfer, 'put'>,
): JobSession {
  const keyOf = createKeys()
  const closed = new AbortController()
  const waiting = new Map<string, { task: TaskInput; call: PromiseWithResolvers<ResultRow> }>()
  /** Results for calls that an earlier start of the application made, and this one has not made yet. */
  const early = new Map<string, ResultRow>()
  let batch: TaskInput[] = []
  /** Keys of calls that are given up. */
  let unwanted: string[] = []
  let flushing = false
  let reading: AbortController | undefined
  let cursor = 0
  let epoch: string | undefined
  let job: Promise<Job> | undefined

  const news = createProgressPoller<Heard>({
    ask: async (keys) => (await job)?.progress(keys, { signal: closed.signal }) ?? [],
    isOpen: (key) => waiting.has(key),
  })

  /** What failed is tried again for the next call. */
  function opened(): Promise<Job> {
    const opening = (job ??= open(closed.signal))
    opening.catch(() => (job = undefined))
    return opening
  }

  function fail(keys: Iterable<string>, error: unknown): void {
    for (const key of [...keys]) {
      waiting.get(key)?.call.reject(error)
      waiting.delete(key)
    }
  }

  function enlist(task: TaskInput): void {
    batch.push(task)
    if (!flushing) setImmediate(() => void flush())
    flushing = true
  }

  /** A call whose arguments are large is handed in once the factory has them; others do not wait for it. */
  async function putAndEnlist(task: TaskInput, parts: PackedValue['parts']): Promise<void> {
    try {
      await blobs.put(parts, { signal: closed.signal })
      enlist(task)
    } catch (error) {
      fail([task.key], error)
    }
  }

  async function flush(): Promise<void> {
    while (batch.length > 0) {
      const tasks = batch.filter(({ key }) => waiting.has(key))
      batch = []
      try {
        if (tasks.length > 0) await (await opened()).add(tasks, { signal: closed.signal })
        void read()
      } catch (error) {
        fail(
          tasks.map(({ key }) => key),
          error,
        )
      }
    }
    flushing = false
  }

  function take(row: ResultRow): void {
    cursor = row.cursor
    const found = waiting.get(row.key)
    if (!found) early.set(row.key, row)
    found?.call.resolve(row)
    waiting.delete(row.key)
  }

  /** The factory's ledger was restored from a backup: of what it forgot, all is handed in again that is waited for. */
  function startOver(): void {
    job = undefined
    cursor = 0
    epoch = undefined
    for (const { task } of waiting.values()) enlist(task)
  }

  async function read(): Promise<void> {
    if (reading) return
    reading = new AbortController()
    const signal = AbortSignal.any([reading.signal, closed.signal])
    try {
      while (waiting.size > 0) {
        for await (const page of (await opened()).pages({ after: cursor, epoch, exact: true, signal })) {
          for (const row of page.results) take(row)
          epoch = page.epoch
          if (page.job.state === 'cancelled' && page.results.length === 0) {
            throw new GleanerError(`job ${page.job.name} was cancelled`)
          }
          if (waiting.size === 0) break
        }
      }
    } catch (error) {
      // When it was stopped, no caller waited any more.
      if (reading.signal.aborted) return void (reading = undefined)
      const isOther =
        error instanceof ApiError && ['GLEANER_RESULTS_REWOUND', 'GLEANER_NOT_FOUND'].includes(error.code)
      if (isOther && epoch !== undefined) startOver()
      else fail(waiting.keys(), error)
    }
    reading = undefined
    if (waiting.size > 0) void read()
  }

  /** Those that are given up in one turn are one request; those that were not submitted yet never will be. */
  async function giveUp(key: string): Promise<void> {
    if (waiting.size === 0) reading?.abort()
    if (unwanted.push(key) > 1) return
    await nextTurn()
    const keys = unwanted
    unwanted = []
    // It would only save some work: if it fails, they run for nothing.
    await job?.then((made) => made.cancelTasks(keys, { signal: closed.signal })).catch(() => {})
  }

  return {
    submit({ json, parts }) {
      const text = JSON.stringify(json)
      if (Buffer.byteLength(text) > limits.value || parts.length > limits.blobs) {
        throw new InputError(
          `the arguments have too many large parts: give less, or put them into a file that workers see`,
        )
      }
      const key = keyOf(text)
      const call = Promise.withResolvers<ResultRow>()
      const known = early.get(key)
      if (known) {
        early.delete(key)
        call.resolve(known)
      } else {
        const task = { key, input: json, ...(parts.length > 0 && { blobs: parts.map(({ ref }) => ref) }) }
        waiting.set(key, { task, call })
        if (parts.length === 0) enlist(task)
        else void putAndEnlist(task, parts)
      }
      return {
        key,
        row: call.promise,
        progress: () => news.of(key),
        cancel() {
          if (waiting.delete(key)) void giveUp(key)
        },
      }
    },
    async close({ cancel }) {
      const unfinished = waiting.size > 0
      closed.abort(new GleanerError('the connection to the factory was closed'))
      fail(waiting.keys(), closed.signal.reason)
      const made = await job?.catch(() => undefined)
      // A factory that is gone by now finds the job as it is when it comes back.
      const options = { signal: AbortSignal.timeout(CLOSE_MS) }
      await (cancel && unfinished ? made?.cancel(options) : made?.close(options))?.catch(() => {})
    },
  }
}
