import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { afterEach, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { pino } from 'pino'
import { request } from 'undici'
import { z } from 'zod'
import { openSpanExport } from '../../../../src/manager/services/tracing/open-span-export.ts'
import type { TaskLog } from '../../../../src/protocol/client.ts'
import { parseTraceparent } from '../../../../src/protocol/trace-context.ts'
import { listen } from '../../../support/listen.ts'
import { ask, CONTEXT, HttpWorker, makeState, removeState, startOn } from '../../../support/manager.ts'
import { until } from '../../../support/until.ts'

/** The JSON of `ExportTraceServiceRequest`, as the specification of OTLP has it. */
const Nanoseconds = z.union([z.string().regex(/^\d+$/), z.int()])
const Attributes = z.array(
  z.object({
    key: z.string().min(1),
    value: z.union([
      z.strictObject({ stringValue: z.string() }),
      z.strictObject({ intValue: z.union([z.int(), z.string().regex(/^-?\d+$/)]) }),
      z.strictObject({ doubleValue: z.number() }),
    ]),
  }),
)
const Span = z.object({
  traceId: z.string().regex(/^[0-9a-f]{32}$/),
  spanId: z.string().regex(/^[0-9a-f]{16}$/),
  parentSpanId: z
    .string()
    .regex(/^[0-9a-f]{16}$/)
    .optional(),
  name: z.string().min(1),
  kind: z.int().min(1).max(5),
  startTimeUnixNano: Nanoseconds,
  endTimeUnixNano: Nanoseconds,
  attributes: Attributes,
  status: z.object({ code: z.int().min(0).max(2), message: z.string().optional() }),
})
type Span = z.infer<typeof Span>
const ExportRequest = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes: Attributes }),
      scopeSpans: z.array(z.object({ scope: z.object({ name: z.string() }), spans: z.array(Span) })),
    }),
  ),
})

/** A collector that takes OTLP in JSON and refuses everything else. */
async function startCollector({ status = 200 } = {}) {
  const requests: z.infer<typeof ExportRequest>[] = []
  const problems: unknown[] = []
  let asked = 0
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      asked++
      try {
        assert.equal(request.url, '/v1/traces')
        assert.equal(request.headers['content-type'], 'application/json')
        assert.equal(request.headers['x-tenant'], 'physics')
        const body = Buffer.concat(chunks)
        const text = request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body
        requests.push(ExportRequest.parse(JSON.parse(text.toString())))
      } catch (error) {
        problems.push(error)
      }
      response.writeHead(status, { 'content-type': 'application/json' }).end('{}')
    })
  })
  const listening = await listen(server)
  const spans = () =>
    requests.flatMap(({ resourceSpans }) =>
      resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)),
    )
  return { listening, requests, problems, spans, asked: () => asked }
}

const SETTINGS = {
  OTEL_EXPORTER_OTLP_HEADERS: 'x-tenant=physics',
  OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
  OTEL_SERVICE_NAME: 'claims-factory',
  OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment=test',
  OTEL_BSP_SCHEDULE_DELAY: '20',
}

function configure(settings: Record<string, string>): void {
  for (const name of Object.keys(process.env)) if (name.startsWith('OTEL_')) delete process.env[name]
  Object.assign(process.env, settings)
}
afterEach(() => configure({}))

/** A manager that says what it logs, and tells a collector of its traces. */
async function startTraced(settings: Record<string, string>) {
  configure({ ...SETTINGS, ...settings })
  const lines: Record<string, unknown>[] = []
  const log = pino(
    {},
    { write: (line: string) => void lines.push(JSON.parse(line) as (typeof lines)[number]) },
  )
  const state = await makeState()
  const manager = await startOn(state, { log, spans: await openSpanExport({ version: '1.2.3', log }) })
  return {
    manager,
    lines,
    async [Symbol.asyncDispose]() {
      await manager.close()
      await removeState(state)
    },
  }
}

async function submit(
  { url, token }: { url: string; token: string },
  keys: string[],
  headers: Record<string, string> = {},
): Promise<number> {
  const answer = await request(`${url}/v1/jobs`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ name: 'claims', context: CONTEXT.name }),
  })
  const { id } = (await answer.body.json()) as { id: number }
  await ask(url, token, `/v1/jobs/${id}/tasks`, { tasks: keys.map((key) => ({ key, input: key })) })
  await ask(url, token, `/v1/jobs/${id}/close`, {})
  return id
}

/** Gives a worker all tasks, of which those with an input of `bad` fail. */
async function runAll(worker: HttpWorker): Promise<void> {
  const { body } = await worker.exchange({ room: 100 })
  const results = body.leases.flatMap(({ lease, tasks }) =>
    tasks.map(({ task, input }) => ({
      task,
      lease,
      outcome:
        input === 'bad'
          ? { status: 'error' as const, error: { name: 'ValueError', message: 'this input is bad' } }
          : { status: 'done' as const, value: 1 },
      ms: 3,
    })),
  )
  await worker.exchange({ results })
}

const attribute = ({ attributes }: Span, name: string): unknown =>
  Object.values(attributes.find(({ key }) => key === name)?.value ?? {})[0]

test('a job is told of in the trace of its client, with its leases, its tasks and how they failed', async () => {
  const collector = await startCollector()
  await using _listening = collector.listening
  await using traced = await startTraced({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.listening.url })
  const { manager, lines } = traced
  const [traceId, clientSpan] = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7']
  const job = await submit(manager, ['good', 'bad'], { traceparent: `00-${traceId}-${clientSpan}-01` })
  const worker = await HttpWorker.register(manager)
  await runAll(worker)
  const named = (name: string) => collector.spans().find((span) => span.name === name)!
  await until(() => named('job claims') !== undefined && named('lease f') !== undefined)
  await worker.die()

  assert.deepEqual(collector.problems, [])
  const [whole, lease] = [named('job claims'), named('lease f')]
  assert.deepEqual([whole.traceId, whole.parentSpanId, whole.status.code], [traceId, clientSpan, 2])
  assert.equal(attribute(whole, 'gleaner.tasks.failed'), 1)
  assert.deepEqual([lease.traceId, lease.parentSpanId], [traceId, whole.spanId])
  assert.deepEqual(
    ['gleaner.tasks', 'gleaner.tasks.done', 'gleaner.node'].map((name) => attribute(lease, name)),
    [2, 1, 'node1'],
  )

  // The manager's answers name the same span as the collector has.
  const tasks = collector.spans().filter(({ name }) => name === 'task f')
  assert.equal(tasks.length, 2)
  for (const key of ['good', 'bad']) {
    const { body } = await ask<TaskLog>(manager.url, manager.token, `/v1/jobs/${job}/log?key=${key}`)
    const span = tasks.find((task) => attribute(task, 'gleaner.task.key') === key)!
    assert.deepEqual([span.traceId, span.parentSpanId], [traceId, lease.spanId])
    assert.equal(parseTraceparent(body.traceparent)!.spanId, span.spanId)
    assert.equal(span.status.message, key === 'bad' ? 'ValueError: this input is bad' : undefined)
  }

  const { resource } = collector.requests[0]!.resourceSpans[0]!
  const about = (name: string) => attribute({ attributes: resource.attributes } as Span, name)
  assert.deepEqual(
    [about('service.name'), about('service.version'), about('deployment.environment')],
    ['claims-factory', '1.2.3', 'test'],
  )
  const failed = lines.find(({ msg }) => msg === 'task failed')!
  assert.equal(failed['trace_id'], traceId)
  assert.ok(tasks.some(({ spanId }) => spanId === failed['span_id']))
})

test('a collector that refuses everything, or is not there, costs a line in the log and no work', async () => {
  for (const isThere of [true, false]) {
    const collector = await startCollector({ status: 400 })
    const { url } = collector.listening
    if (!isThere) await collector.listening[Symbol.asyncDispose]()
    await using traced = await startTraced({
      OTEL_EXPORTER_OTLP_ENDPOINT: url,
      OTEL_EXPORTER_OTLP_TIMEOUT: '500',
    })
    const { manager, lines } = traced
    const id = await submit(manager, ['a', 'b'])
    const worker = await HttpWorker.register(manager)
    await worker.workUntilIdle()
    await until(() => lines.some(({ msg }) => /^traces could not be sent/.test(String(msg))))
    const { body } = await ask<{ done: number }>(manager.url, manager.token, `/v1/jobs/${id}`)
    assert.equal(body.done, 2)
    await worker.die()
    if (isThere) await collector.listening[Symbol.asyncDispose]()
  }
})

test('only the traces that the sampler takes are told of', async () => {
  const collector = await startCollector()
  await using _listening = collector.listening
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.listening.url }
  for (const [settings, traceparent, expected] of [
    [{ OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '0' }, '', false],
    [{ OTEL_TRACES_SAMPLER: 'always_off' }, '', false],
    // Its client does not record it.
    [{}, `00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`, false],
    [{ OTEL_TRACES_SAMPLER: 'always_on' }, `00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`, true],
  ] as const) {
    const before = collector.spans().length
    {
      await using traced = await startTraced({ ...endpoint, ...settings })
      await submit(traced.manager, ['a'], { traceparent })
      const worker = await HttpWorker.register(traced.manager)
      await worker.workUntilIdle()
      await worker.die()
    }
    // What there was to send was sent when the manager ended.
    assert.equal(collector.spans().length > before, expected, JSON.stringify([settings, traceparent]))
  }
})

test('nothing is told without an endpoint, or where the environment turns it off', async () => {
  const about = { version: '1', log: pino({ level: 'silent' }) }
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' }
  for (const settings of [
    {},
    { ...endpoint, OTEL_SDK_DISABLED: 'true' },
    { ...endpoint, OTEL_TRACES_EXPORTER: 'none' },
  ]) {
    configure(settings)
    assert.equal(await openSpanExport(about), undefined)
  }
})
