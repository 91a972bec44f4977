import { hostname } from 'node:os'
import {
  diag,
  DiagLogLevel,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace as tracing,
  TraceFlags,
} from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources'
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  SamplingDecision,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace'
import type { Logger } from 'pino'
import type { Trace } from '../../../protocol/trace-context.ts'
import type { SpanExport } from './span-record.ts'

/*
 * Spans as OTLP in JSON over HTTP, by OpenTelemetry's own packages. In a package of this program they are in this very file:
 * nothing has to be installed for them, and nothing is loaded unless they are used.
 */

/** Trouble of one kind is logged once in this time, milliseconds. */
const QUIET_MS = 60_000
/** The end of the manager waits so long for a collector, milliseconds. */
const LAST_MS = 2_000

/** Sends spans to where the environment says, which must name an endpoint. */
export function createOtlpExport(about: { version: string; log: Logger }): SpanExport {
  // The packages read it themselves, too.
  const { env } = process
  const report = seldom(about.log)
  if (!['http/json', '', undefined].includes(env['OTEL_EXPORTER_OTLP_PROTOCOL']))
    report('protocol', 'traces are sent as http/json, whatever OTEL_EXPORTER_OTLP_PROTOCOL says')
  // The only thing that the packages complain of by themselves is that their queue is full.
  const quiet = { error: () => {}, info: () => {}, debug: () => {}, verbose: () => {} }
  diag.setLogger(
    { ...quiet, warn: (text) => report('dropped', text) },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  )
  const exporter = new OTLPTraceExporter()
  const sampler = samplerOf(env)
  const ids = { traceId: '', spanId: '' }
  const number = (name: string, otherwise: number) => (env[name] ? Number(env[name]) : otherwise)
  const processor = new BatchSpanProcessor({
    exporter: reporting(exporter, (reason) => report('failed', `traces could not be sent: ${reason}`)),
    maxQueueSize: number('OTEL_BSP_MAX_QUEUE_SIZE', 2048),
    maxExportBatchSize: number('OTEL_BSP_MAX_EXPORT_BATCH_SIZE', 512),
    scheduledDelayMillis: number('OTEL_BSP_SCHEDULE_DELAY', 5_000),
    exportTimeoutMillis: number('OTEL_BSP_EXPORT_TIMEOUT', 30_000),
  })
  const provider = new TracerProvider({
    resource: resourceFromAttributes({
      'service.name': 'gleaner',
      'service.version': about.version,
      'host.name': hostname(),
      'process.pid': process.pid,
    }).merge(detectResources({ detectors: [envDetector] })),
    // What is sampled was settled before.
    sampler: new AlwaysOnSampler(),
    idGenerator: { generateTraceId: () => ids.traceId, generateSpanId: () => ids.spanId },
    spanProcessors: [processor],
  })
  const tracer = provider.getTracer('gleaner', about.version)
  return {
    takes(trace, hasParent) {
      const context = hasParent ? contextOf(trace, trace.spanId, parseInt(trace.flags, 16)) : ROOT_CONTEXT
      const { decision } = sampler.shouldSample(context, trace.traceId, 'job', SpanKind.INTERNAL, {}, [])
      return decision === SamplingDecision.RECORD_AND_SAMPLED
    },
    add({ name, trace, parentSpan, startMs, endMs, attributes, error }) {
      const parent =
        parentSpan === undefined ? ROOT_CONTEXT : contextOf(trace, parentSpan, TraceFlags.SAMPLED)
      Object.assign(ids, trace)
      const span = tracer.startSpan(name, { startTime: startMs, attributes, root: !parentSpan }, parent)
      if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: error })
      span.end(Math.max(startMs, endMs))
    },
    async close() {
      const closed = provider.shutdown().catch(() => {})
      const { promise: late, resolve } = Promise.withResolvers<void>()
      const timer = setTimeout(resolve, LAST_MS)
      await Promise.race([closed, late])
      clearTimeout(timer)
    },
  }
}

function contextOf({ traceId }: Trace, spanId: string, traceFlags: number) {
  return tracing.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true })
}

/** By OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG. */
function samplerOf(env: NodeJS.ProcessEnv): Sampler {
  const name = env['OTEL_TRACES_SAMPLER'] || 'parentbased_always_on'
  const share = Number(env['OTEL_TRACES_SAMPLER_ARG'] || 1)
  const roots: Record<string, Sampler> = {
    always_on: new AlwaysOnSampler(),
    always_off: new AlwaysOffSampler(),
    traceidratio: new TraceIdRatioBasedSampler(share),
  }
  const root = roots[name.replace(/^parentbased_/, '')] ?? new AlwaysOnSampler()
  return name.startsWith('parentbased_') ? new ParentBasedSampler({ root }) : root
}

/** The same, which also says why it could not send. */
function reporting(exporter: SpanExporter, onFailure: (reason: string) => void): SpanExporter {
  return {
    export: (spans, done) =>
      exporter.export(spans, (result) => {
        if (result.error) onFailure(result.error.message)
        done(result)
      }),
    shutdown: () => exporter.shutdown(),
    forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve(),
  }
}

function seldom(log: Logger): (kind: string, text: string) => void {
  const saidAt = new Map<string, number>()
  return (kind, text) => {
    const now = performance.now()
    if (now - (saidAt.get(kind) ?? -Infinity) < QUIET_MS) return
    saidAt.set(kind, now)
    log.warn(text)
  }
}
