import type { Trace } from '../../../protocol/trace-context.ts'

/** Something that took a while, as it is told to what collects traces. */
export interface SpanRecord {
  name: string
  /** Its place: the trace, and its own span in it. */
  trace: Trace
  /** The span that it is part of; absent for the first of a trace. */
  parentSpan?: string | undefined
  /** Milliseconds since 1970. */
  startMs: number
  endMs: number
  attributes: Record<string, string | number>
  /** What went wrong. */
  error?: string | undefined
}

/** Where spans go. It holds so many and no more, never waits, and fails on its own. */
export interface SpanExport {
  /** Whether this trace is one of those to be told of. @param hasParent it is part of a trace of the client's */
  takes(trace: Trace, hasParent: boolean): boolean
  add(span: SpanRecord): void
  /** Sends what it has, for a moment at most. */
  close(): Promise<void>
}
