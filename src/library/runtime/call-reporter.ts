import { limits } from '../../protocol/primitives.ts'
import type { FromLibrary, ToLibrary } from '../../protocol/library.ts'
import { stringifyExactly } from '../../protocol/json/exact-numbers.ts'
import { type JsonLines, chunkTexts } from '../../common/json-lines.ts'
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
export function createCallReporter(channel: JsonLines<ToLibrary, FromLibrary>, queue: CallQueue): CallDesk {
  let ended: string[] = []
  let parts: string[] = []
  /** The last word of calls on how far they are. */
  const reports = new Map<number, { done: number; total?: number }>()
  let reportedAt = -Infinity
  let reporting: NodeJS.Timeout | undefined
  const running = new Set<number>()
  const cancelled = new Set<number>()
  /** Who asked to be told when a call is cancelled. */
  const signals = new Map<number, AbortController>()
  /** How many parts calls have given. */
  const given = new Map<number, number>()
  /** From when on the time spent has not been reported yet. */
  let unreported = 0
  let sent = Promise.resolve()

  const flush = (): Promise<void> => {
    for (const stretch of chunkTexts(parts))
      sent = channel.sendJson(`{"type":"parts","parts":[${stretch.join(',')}]}`)
    parts = []
    if (ended.length === 0) return sent
    const texts = ended
    ended = []
    const now = performance.now()
    const msEach = (now - unreported) / texts.length
    unreported = now
    for (const stretch of chunkTexts(texts)) {
      const ms = msEach * stretch.length
      sent = channel.sendJson(`{"type":"ended","calls":[${stretch.join(',')}],"ms":${ms}}`)
    }
    return sent
  }

  /** A function may keep the process busy, so this must not wait for a turn of its own. */
  const report = () => {
    clearTimeout(reporting)
    reporting = undefined
    if (reports.size === 0) return
    reportedAt = performance.now()
    void channel.send({ type: 'progress', calls: [...reports].map(([id, words]) => ({ id, ...words })) })
    reports.clear()
  }

  const flushSoon = () => {
    if (ended.length + parts.length === 0) setImmediate(() => void flush())
  }

  return {
    async begin(calls) {
      const claimed = queue.claim(calls)
      if (claimed.length === 0) return claimed
      // Results go out before anything else can crash, and no faster than the worker reads them.
      await flush()
      await channel.send({ type: 'begun', ids: claimed.map((call) => call.id) })
      if (running.size === 0) unreported = performance.now()
      for (const { id } of claimed) running.add(id)
      return claimed
    },
    end(call, outcome) {
      flushSoon()
      ended.push(encode(call, outcome))
      reports.delete(call.id)
      running.delete(call.id)
      cancelled.delete(call.id)
      signals.delete(call.id)
      given.delete(call.id)
    },
    part({ id }, part) {
      flushSoon()
      const n = given.get(id) ?? 0
      given.set(id, n + 1)
      parts.push(`{"id":${id},"n":${n},"part":${stringifyExactly(part)}}`)
    },
    isCancelled: ({ id }) => cancelled.has(id),
    signal({ id }) {
      const controller = signals.get(id) ?? new AbortController()
      signals.set(id, controller)
      if (cancelled.has(id)) controller.abort()
      return controller.signal
    },
    cancel(ids) {
      queue.forget(ids)
      for (const id of ids) {
        if (!running.has(id)) continue
        cancelled.add(id)
        signals.get(id)?.abort()
      }
    },
    progress(calls, done, total) {
      for (const { id } of calls) reports.set(id, { done, ...(total !== undefined && { total }) })
      const waitMs = reportedAt + REPORT_MS - performance.now()
      if (waitMs <= 0) report()
      else reporting ??= setTimeout(report, waitMs)
    },
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
