import { parseTraceparent } from '../../protocol/trace-context.ts'

/** A trace as tools that look for it want it; nothing if there is none. */
export function traceText(traceparent: string | undefined): string[] {
  const trace = parseTraceparent(traceparent)
  return trace ? [`${trace.traceId}, span ${trace.spanId}`] : []
}
