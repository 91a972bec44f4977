import { limits } from '../../protocol/primitives.ts'
import type { FromLibrary, ToLibrary } from '../../protocol/library.ts'
import { stringifyExactly } from '../../protocol/json/exact-numbers.ts'
import { type JsonLinesChannel, chunkTexts } from '../../common/json-lines-channel.ts'
import { ResultError, toTaskError } from '../../common/task-errors.ts'
import type { Call, CallOutcome, CallReporter } from './library-kind.ts'
import type { CallQueue } from './call-queue.ts'

/** How often the worker hears how far calls are, milliseconds. */
const REPORT_MS = 500

/** A desk that hears which calls are cancelled. */
export interface CallDesk extends CallReporter {
  /** Forgets calls that wait, and notes those that run as cancelled; others are ignored. */
  cancel(ids: readonly number[]): void
}

/**
 * The {@link CallReporter} that speaks to the worker. What ended in one turn of the event loop travels together: tens of
 * thousands of calls a second are a few hundred lines.
 */
export function createCallReporter(
  channel: JsonLinesChannel<ToLibrary, FromLibrary>,
  queue: CallQueue,
): CallDesk {
  return new WorkerReporter(channel, queue)
}

class WorkerReporter implements CallDesk {
  readonly #channel: JsonLinesChannel<ToLibrary, FromLibrary>
  readonly #queue: CallQueue
  readonly #progress: ProgressReports
  readonly #running = new Set<number>()
  readonly #cancelled = new Set<number>()
  /** Who asked to be told when a call is cancelled. */
  readonly #signals = new Map<number, AbortController>()
  /** How many parts calls have given. */
  readonly #given = new Map<number, number>()
  #ended: string[] = []
  #parts: string[] = []
  /** From when on the time spent has not been reported yet. */
  #unreported = 0
  #sent = Promise.resolve()

  constructor(channel: JsonLinesChannel<ToLibrary, FromLibrary>, queue: CallQueue) {
    this.#channel = channel
    this.#queue = queue
    this.#progress = new ProgressReports(channel)
  }

  async begin(calls: readonly Call[]): Promise<Call[]> {
    const claimed = this.#queue.claim(calls)
    if (claimed.length === 0) return claimed
    // Results go out before anything else can crash, and no faster than the worker reads them.
    await this.#flush()
    await this.#channel.send({ type: 'begun', ids: claimed.map((call) => call.id) })
    if (this.#running.size === 0) this.#unreported = performance.now()
    for (const { id } of claimed) this.#running.add(id)
    return claimed
  }

  end(call: Call, outcome: CallOutcome): void {
    this.#flushSoon()
    this.#ended.push(encode(call, outcome))
    this.#progress.forget(call.id)
    this.#running.delete(call.id)
    this.#cancelled.delete(call.id)
    this.#signals.delete(call.id)
    this.#given.delete(call.id)
  }

  part({ id }: Call, part: unknown): void {
    this.#flushSoon()
    const n = this.#given.get(id) ?? 0
    this.#given.set(id, n + 1)
    this.#parts.push(`{"id":${id},"n":${n},"part":${stringifyExactly(part)}}`)
  }

  progress(calls: readonly Call[], done: number, total: number | undefined): void {
    this.#progress.note(calls, { done, ...(total !== undefined && { total }) })
  }

  isCancelled({ id }: Call): boolean {
    return this.#cancelled.has(id)
  }

  signal({ id }: Call): AbortSignal {
    const controller = this.#signals.get(id) ?? new AbortController()
    this.#signals.set(id, controller)
    if (this.#cancelled.has(id)) controller.abort()
    return controller.signal
  }

  cancel(ids: readonly number[]): void {
    this.#queue.forget(ids)
    for (const id of ids) {
      if (!this.#running.has(id)) continue
      this.#cancelled.add(id)
      this.#signals.get(id)?.abort()
    }
  }

  #flushSoon(): void {
    if (this.#ended.length + this.#parts.length === 0) setImmediate(() => void this.#flush())
  }

  #flush(): Promise<void> {
    for (const stretch of chunkTexts(this.#parts))
      this.#sent = this.#channel.sendJson(`{"type":"parts","parts":[${stretch.join(',')}]}`)
    this.#parts = []
    if (this.#ended.length === 0) return this.#sent
    const texts = this.#ended
    this.#ended = []
    const now = performance.now()
    const msEach = (now - this.#unreported) / texts.length
    this.#unreported = now
    for (const stretch of chunkTexts(texts)) {
      const ms = msEach * stretch.length
      this.#sent = this.#channel.sendJson(`{"type":"ended","calls":[${stretch.join(',')}],"ms":${ms}}`)
    }
    return this.#sent
  }
}

interface Progress {
  done: number
  total?: number
}

/** Tells the worker how far calls are, now and then. */
class ProgressReports {
  readonly #channel: JsonLinesChannel<ToLibrary, FromLibrary>
  /** The last word of calls on how far they are. */
  readonly #reports = new Map<number, Progress>()
  #reportedAt = -Infinity
  #timer: NodeJS.Timeout | undefined

  constructor(channel: JsonLinesChannel<ToLibrary, FromLibrary>) {
    this.#channel = channel
  }

  note(calls: readonly Call[], progress: Progress): void {
    for (const { id } of calls) this.#reports.set(id, progress)
    const waitMs = this.#reportedAt + REPORT_MS - performance.now()
    if (waitMs <= 0) this.#report()
    else this.#timer ??= setTimeout(() => this.#report(), waitMs)
  }

  forget(id: number): void {
    this.#reports.delete(id)
  }

  /** A function may keep the process busy, so this must not wait for a turn of its own. */
  #report(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#reports.size === 0) return
    this.#reportedAt = performance.now()
    void this.#channel.send({
      type: 'progress',
      calls: [...this.#reports].map(([id, progress]) => ({ id, ...progress })),
    })
    this.#reports.clear()
  }
}

function encode(call: Call, outcome: CallOutcome): string {
  const log = outcome.log === undefined ? '' : `,"log":${JSON.stringify(outcome.log)}`
  const failed = (error: unknown) => `{"id":${call.id},"error":${JSON.stringify(toTaskError(error))}${log}}`
  if ('error' in outcome) return failed(outcome.error)
  try {
    const blobs = outcome.blobs ? `,"blobs":${JSON.stringify(outcome.blobs)}` : ''
    return `{"id":${call.id},"value":${encodeValue(outcome.value)}${blobs}${log}}`
  } catch (error) {
    return failed(error)
  }
}

function encodeValue(value: unknown): string {
  let json: string | undefined
  try {
    json = stringifyExactly(value)
  } catch (error) {
    throw new ResultError(`the function returned what is not JSON: ${String(error)}`)
  }
  // Nothing returned, or what JSON has no word for.
  if (json === undefined) return 'null'
  const bytes = Buffer.byteLength(json)
  if (bytes > limits.value) {
    throw new ResultError(`the result takes ${bytes} bytes of JSON, more than ${limits.value}: return less`)
  }
  return json
}
