import { randomBytes } from 'node:crypto'
import { parseTraceparent, traceparentOf } from '../../../protocol/trace-context.ts'

/** The trace of a new job: its client's, if that has one, or its own; with a span of its own in any case. */
export function newTrace(client: string | undefined): { traceparent: string; parentSpan?: string } {
  const parent = parseTraceparent(client)
  const spanId = randomBytes(8).toString('hex')
  if (parent) return { traceparent: traceparentOf({ ...parent, spanId }), parentSpan: parent.spanId }
  return { traceparent: traceparentOf({ traceId: randomBytes(16).toString('hex'), spanId, flags: '01' }) }
}
