import type { Logger } from 'pino'
import type { SpanExport } from './span-record.ts'

/**
 * Where spans go by OTEL_EXPORTER_OTLP_ENDPOINT and its like; nowhere without them. What it takes to send them is loaded only
 * then.
 */
export async function openSpanExport(about: {
  version: string
  log: Logger
}): Promise<SpanExport | undefined> {
  const { env } = process
  const endpoint = env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'] ?? env['OTEL_EXPORTER_OTLP_ENDPOINT'] ?? ''
  const isOff = env['OTEL_SDK_DISABLED']?.toLowerCase() === 'true' || env['OTEL_TRACES_EXPORTER'] === 'none'
  if (endpoint === '' || isOff) return undefined
  const { createOtlpExport } = await import('./otlp-export.ts')
  return createOtlpExport(about)
}
