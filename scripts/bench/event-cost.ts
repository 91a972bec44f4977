/**
 * What events and traces cost the manager for each task: npm run bench:events [-- TASKS [ROUNDS]]
 *
 * The manager's own parts, on a ledger on disk, are given the results of calls that do nothing, 500 at a time, by one worker:
 * with nothing that watches, with the events that every factory keeps, and with traces beside them, which go to a collector on
 * this machine. The three take turns, so that they meet the same machine. Processor time is of the whole process. The last line
 * is JSON.
 */
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { openStore } from '../../src/bundle/store/store.ts'
import { addContext } from '../../src/manager/ledger/context-records.ts'
import { Ledger } from '../../src/manager/ledger/ledger.ts'
import { BlobStore } from '../../src/manager/services/blob-store.ts'
import { Contexts } from '../../src/manager/services/contexts/contexts.ts'
import { Dispatcher } from '../../src/manager/services/dispatcher.ts'
import { recordEvents } from '../../src/manager/services/events/record-events.ts'
import { Jobs } from '../../src/manager/services/jobs/jobs.ts'
import { LedgerPilotRegistry } from '../../src/manager/services/pilots/pilot-registry.ts'
import { WorkerSessions } from '../../src/manager/services/pilots/worker-sessions.ts'
import { JobSpans } from '../../src/manager/services/tracing/job-spans.ts'
import { openSpanExport } from '../../src/manager/services/tracing/open-span-export.ts'
import type { ContextSpec } from '../../src/protocol/contexts/context.ts'
import { JsonText } from '../../src/protocol/json/json-text.ts'
import { PROTOCOL_VERSION } from '../../src/protocol/primitives.ts'
import { ExchangeResponse } from '../../src/protocol/worker.ts'

const [tasks = 50_000, rounds = 5] = process.argv.slice(2).map(Number)
const TOGETHER = 500
const WAYS = ['bare', 'events', 'traces'] as const
type Way = (typeof WAYS)[number]

const context: ContextSpec = {
  id: 'c'.repeat(64),
  name: 'noop',
  bundles: {},
  spec: {
    library: 'module',
    setup: { bundle: 'app', file: 'a.js', args: [] },
    functions: { f: { export: 'f' } },
  },
}
const log = pino({ level: 'silent' })

let posts = 0
const collector = createServer((request, response) => {
  posts++
  request.resume().once('end', () => response.end('{}'))
})
await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve))
process.env.OTEL_EXPORTER_OTLP_ENDPOINT = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`

/** Processor time for each task, microseconds. */
async function round(way: Way): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-events-'))
  await using opened = new AsyncDisposableStack()
  opened.defer(() => rm(folder, { recursive: true }))
  const ledger = new Ledger(join(folder, 'ledger.db'), log)
  opened.defer(() => ledger.close())
  await addContext(ledger, context, Date.now())
  const store = opened.use(await openStore({ folder: join(folder, 'store'), log }))
  const dispatcher = new Dispatcher(ledger, log, {})
  opened.defer(() => dispatcher.close())
  const sessions = new WorkerSessions(ledger.pilots, dispatcher)
  const pilots = new LedgerPilotRegistry(ledger, dispatcher, sessions)
  const contexts = new Contexts(ledger, store, dispatcher)
  const now = () => dispatcher.now
  const blobs = await BlobStore.open({ ledger, folder: join(folder, 'blobs'), maxBytes: 1, now, log })
  const jobs = new Jobs(ledger, dispatcher, contexts, blobs, () => {})
  const parts = { ledger, dispatcher, pilots, sessions, jobs, contexts, log }
  const events =
    way === 'bare' ? undefined : recordEvents({ ...parts, sites: () => [], version: '0', notify: [] })
  if (events) opened.defer(() => events.close())
  const sent = way === 'traces' ? await openSpanExport({ version: '0', log }) : undefined
  if (sent) opened.defer(() => sent.close())
  const spans = sent && new JobSpans({ ...parts, feed: events!.feed }, sent)

  const { id } = await jobs.create({
    name: 'calls',
    context: context.name,
    options: { retries: 0, priority: 0, keepMs: 0 },
  })
  for (let start = 0; start < tasks; start += 1_000)
    await jobs.addTasks(
      id,
      Array.from({ length: Math.min(1_000, tasks - start) }, (_, i) => ({
        key: String(start + i),
        input: new JsonText('1'),
      })),
    )
  await jobs.close(id)
  const worker = register(pilots, sessions)
  const value = new JsonText('1')
  let results: Parameters<Dispatcher['exchange']>[1]['results'] = []
  let done = 0
  const before = process.cpuUsage()
  for (let seq = 0; done < tasks; seq++) {
    const request = {
      ...{ seq, results, leases: [], rate: 20_000, waitMs: 1_000 },
      contexts: [{ context: context.id, level: 'memory' as const, loadedIn: [0], attempts: 1 }],
      want: [{ context: context.id, tasks: TOGETHER }],
    }
    const answer = await dispatcher.exchange(sessions.workerInfo(worker), request, () => {
      events?.workerEvents.note(worker, request)
      spans?.note(worker, request)
    })
    done += results.length
    const { leases } = ExchangeResponse.parse(JSON.parse(answer))
    results = leases.flatMap(({ lease, tasks }) =>
      tasks.map(({ task }) => ({ task, lease, outcome: { status: 'done' as const, value }, ms: 0.05 })),
    )
  }
  const { user, system } = process.cpuUsage(before)
  return (user + system) / tasks
}

function register(pilots: LedgerPilotRegistry, sessions: WorkerSessions): string {
  const [pilot] = pilots.create('here', 1)
  const at = Date.now()
  return sessions.register(pilot!.token, {
    ...{ protocol: PROTOCOL_VERSION, nonce: randomBytes(32).toString('base64url'), node: 'here' },
    ...{ platform: 'linux', restarts: 0, clock: at, startedAt: at, bootedAt: at },
    slots: [{ device: 'cpu', cpus: 1, memory: 1 << 30 }],
  }).worker
}

const times: Record<Way, number[]> = { bare: [], events: [], traces: [] }
for (const way of WAYS) await round(way)
for (let i = 0; i < rounds; i++) {
  const order = i % 2 === 0 ? WAYS : WAYS.toReversed()
  for (const way of order) times[way].push(await round(way))
}
const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!
const difference = (way: Way, from: Way) => median(times[way].map((value, i) => value - times[from][i]!))
const rounded = (value: number) => Number(value.toFixed(2))
console.table(Object.fromEntries(WAYS.map((way) => [way, { 'us/task': rounded(median(times[way])) }])))
console.log(
  JSON.stringify({
    tasks,
    rounds,
    bare_us: rounded(median(times.bare)),
    events_added_us: rounded(difference('events', 'bare')),
    traces_added_us: rounded(difference('traces', 'events')),
    posts,
  }),
)
collector.close()
collector.closeAllConnections()
