import { z } from 'zod'

/*
 * Traces as the W3C's Trace Context has them: a trace is 16 random bytes, a span in it 8. A job is one trace, or part of its
 * client's. The spans of its tasks follow from its own: nothing is kept for a task, and all who know its number agree.
 */

/** `00-TRACE-SPAN-FLAGS` in lower-case hex digits, as in the header `traceparent`. */
export const Traceparent = z
  .string()
  .regex(/^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/, 'is no traceparent')

export interface Trace {
  /** 32 hex digits. */
  traceId: string
  /** 16 hex digits. */
  spanId: string
  /** 2 hex digits; the last bit says that it is recorded. */
  flags: string
}

/** Later versions add to the end of what this one has. */
const HEADER = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/

/** What a header `traceparent` says; undefined if it is none, as for all who get one that they do not understand. */
export function parseTraceparent(text: string | undefined): Trace | undefined {
  const [, traceId, spanId, flags] = HEADER.exec(text?.trim() ?? '') ?? []
  return traceId === undefined ? undefined : { traceId, spanId: spanId!, flags: flags! }
}

export const traceparentOf = ({ traceId, spanId, flags }: Trace): string => `00-${traceId}-${spanId}-${flags}`

/** Odd, so that no two tasks of a job get the same span; its bits are mixed, so that other spans are far away. */
const STEP = 0x9e3779b97f4a7c15n

/** The traceparent of a task, by its number and its job's traceparent; undefined if that is none. */
export function taskTraceparent(job: string | undefined, task: number): string | undefined {
  const trace = parseTraceparent(job)
  if (!trace) return undefined
  const span = BigInt.asUintN(64, BigInt(`0x${trace.spanId}`) + STEP * BigInt(task + 1))
  // No span is 0.
  const spanId = (span === 0n ? STEP : span).toString(16).padStart(16, '0')
  return traceparentOf({ ...trace, spanId })
}

/** The fields by which logs name a span, as OpenTelemetry calls them; none if there is no trace. */
export function traceFields(traceparent: string | undefined): { trace_id?: string; span_id?: string } {
  const trace = parseTraceparent(traceparent)
  return trace ? { trace_id: trace.traceId, span_id: trace.spanId } : {}
}
