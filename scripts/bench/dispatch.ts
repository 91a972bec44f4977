import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Job } from '../../src/client/index.ts'
import { Gate } from './dispatch/start-barrier.ts'
import { runFactory } from '../support/running-factory.ts'

/*
 * What a call costs when the call itself costs nothing: no-op calls on a retained context, submitted and answered over the
 * public API, each result on disk before it is acknowledged. Two pilots of one CPU each, as the peers were measured.
 *
 * Then what a call costs that goes first while many others wait, and what each of these adds to the manager's memory. Two
 * workers do calls that do nothing about as fast as one client submits them, so that hardly any would wait: those that are to
 * wait are of a context that cannot be loaded until all calls are there and the memory has been measured.
 */

const { values } = parseArgs({
  options: {
    tasks: { type: 'string', default: '100000' },
    queued: { type: 'string', default: '1000,1000000' },
  },
})
const tasks = Number(values.tasks)
const queues = values.queued
  .split(',')
  .map(Number)
  .filter((n) => n > 0)

const PILOTS = 2
const config = {
  sites: { here: { kind: 'local', policy: 'fixed', count: PILOTS, cpus: 1 } },
  manager: { idle: '10m' },
}
const context = (name: string, gate?: Gate) => ({
  'context.yaml': `
name: ${name}
library: module
bundles: { app: ./app }
setup: { bundle: app, file: noop.js${gate ? `, call: pass, args: ['${gate.url}']` : ''} }
functions: { noop: { export: noop, batch: 4096 } }
`,
  'app/noop.js': `
export const pass = async (gate) => void (await fetch(gate))
export const noop = (inputs) => inputs
`,
})
const gated = (queued: number) => `gated-${queued}`

// The factory's native code returns what it frees at once. Otherwise calls that wait first fill room that was left by the start,
// more or less of it from run to run, and seem to weigh less than they do. It is the C library's default until it adapts it.
process.env.MALLOC_TRIM_THRESHOLD_ = String(128 << 10)

await using gate = await Gate.create()
await using factory = await runFactory(config, {
  noop: context('noop'),
  ...Object.fromEntries(queues.map((queued) => [gated(queued), context(gated(queued), gate)])),
})
const { client } = factory

await run('warm-up', 2_000)
const memoryBefore = await factory.memory()
const { seconds, latencies } = await run('measured', tasks)
const sorted = latencies.sort((a, b) => a - b)
const at = (share: number) => round(sorted[Math.floor(share * (sorted.length - 1))]!)
console.table({ [`${tasks} calls`]: { seconds: seconds.toFixed(2), 'calls/s': Math.round(tasks / seconds) } })

const costs: Record<string, Cost> = {}
for (const queued of queues) costs[`${queued} queued`] = await costWith(queued)
console.table(costs)
const memoryAfter = await factory.memory()
console.log(
  JSON.stringify({
    tasks_per_s: Math.round(tasks / seconds),
    p50_ms: at(0.5),
    p99_ms: at(0.99),
    rss_mb: Math.round(memoryAfter.rss / 1e6),
    grown_mb: Math.round((memoryAfter.rss - memoryBefore.rss) / 1e6),
    costs,
  }),
)

/** Submits so many calls and reads all results; a call's latency is from its submission to its result being read. */
async function run(name: string, count: number): Promise<{ seconds: number; latencies: number[] }> {
  const startedAt = performance.now()
  const submittedAt = new Float64Array(count)
  const job = await client.createJob({ name, context: 'noop' })
  const submitting = submit(job, count, submittedAt).then(() => job.close())
  const latencies: number[] = []
  for await (const { results } of job.pages({ limit: 20_000 })) {
    const now = performance.now()
    for (const { key } of results) latencies.push(now - submittedAt[Number(key)]!)
  }
  await submitting
  if (latencies.length !== count) throw new Error(`${latencies.length} results for ${count} calls`)
  return { seconds: (performance.now() - startedAt) / 1000, latencies }
}

function submit(job: Job, count: number, submittedAt = new Float64Array(count)) {
  return job.add(
    (function* () {
      for (let i = 0; i < count; i++) {
        submittedAt[i] = performance.now()
        yield { key: String(i), input: i }
      }
    })(),
  )
}

interface Cost {
  /**
   * Time of a call of a job that goes first, microseconds: to submit it and then, with the workers at full speed, to run it, its
   * result on disk.
   */
  'us/call': number
  /**
   * What the manager's process grows by for each call that waits, as the operating system counts it, without garbage. That is
   * nearly all cache of the ledger's pages, which has a limit of 64 MiB: less for each where more wait; for few it says nothing.
   */
  'bytes/queued task': number
  /** The part of it that is objects and buffers of JavaScript. */
  'live bytes/queued task': number
  /** The same as the first with garbage, and with the room that V8 keeps for new objects: has a limit too, and varies. */
  'bytes/queued task with garbage': number
  /** How many still wait when the job that goes first has ended. */
  'left queued': number
}

/** The cost of calls that go first while many other calls wait behind them, and of one that waits. */
async function costWith(queued: number): Promise<Cost> {
  const before = await factory.memory()
  const waiting = await createGated(`waiting ${queued}`, queued, -1)
  await submit(waiting, queued)
  const after = await factory.memory()
  const first = await createGated(`first of ${queued}`, queued, 0)
  const startedAt = performance.now()
  await submit(first, tasks)
  await first.close()
  const submitMs = (performance.now() - startedAt) / tasks
  await gate.reached(PILOTS)
  gate.open()
  const runMs = await finish(first)
  const { done } = await waiting.cancel()
  gate.shut()
  const each = (grown: number) => Math.max(0, round(grown / queued))
  return {
    'us/call': Math.round((submitMs + runMs) * 1000),
    'bytes/queued task': each(after.rss - before.rss),
    'live bytes/queued task': each(after.live - before.live),
    'bytes/queued task with garbage': each(after.rssWithGarbage - before.rss),
    'left queued': queued - done,
  }
}

function createGated(name: string, queued: number, priority: number) {
  return client.createJob({ name, context: gated(queued), options: { priority } })
}

/** Waits until all calls of a job are done, and tells how long each one after the first tenth takes, milliseconds. */
async function finish(job: Job): Promise<number> {
  let full = { at: performance.now(), done: 0 }
  for (;;) {
    const { done, failed } = await job.info()
    const at = performance.now()
    if (failed > 0) throw new Error(`${failed} calls failed`)
    if (done === tasks) return (at - full.at) / (done - full.done)
    if (full.done < tasks / 10) full = { at, done }
    await sleep(10)
  }
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
