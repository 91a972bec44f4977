import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import type { Client, Job } from '../src/client/index.ts'
import { runFactory } from './support/running-factory.ts'

/*
 * What a call costs when the call itself costs nothing: no-op calls on a retained context, submitted and answered over the
 * public API, each result on disk before it is acknowledged. Two pilots of one CPU each, as the peers were measured.
 */

const { values } = parseArgs({
  options: {
    tasks: { type: 'string', default: '100000' },
    queued: { type: 'string', default: '1000,1000000' },
  },
})
const tasks = Number(values.tasks)

const context = {
  'context.yaml': `
name: noop
library: module
bundles: { app: ./app }
setup: { bundle: app, file: noop.js }
functions: { noop: { export: noop, batch: 4096 } }
`,
  'app/noop.js': 'export const noop = (inputs) => inputs\n',
}
const config = {
  sites: { here: { kind: 'local', policy: 'fixed', count: 2, cpus: 1 } },
  manager: { idle: '10m' },
}

await using factory = await runFactory(config, { noop: context })
const { client } = factory

await run(client, 'warm-up', 2_000)
const memoryBefore = rss()
const { seconds, latencies } = await run(client, 'measured', tasks)
const sorted = latencies.sort((a, b) => a - b)
const at = (share: number) => Math.round(sorted[Math.floor(share * (sorted.length - 1))]! * 10) / 10
console.table({ [`${tasks} calls`]: { seconds: seconds.toFixed(2), 'calls/s': Math.round(tasks / seconds) } })

const costs: Record<string, { 'us/call': number; 'bytes/queued task': number }> = {}
for (const queued of values.queued
  .split(',')
  .map(Number)
  .filter((n) => n > 0)) {
  costs[`${queued} queued`] = await costWith(client, queued)
}
console.table(costs)
console.log(
  JSON.stringify({
    tasks_per_s: Math.round(tasks / seconds),
    p50_ms: at(0.5),
    p99_ms: at(0.99),
    rss_mb: Math.round(rss() / 1e6),
    grown_mb: Math.round((rss() - memoryBefore) / 1e6),
    costs,
  }),
)

/** Submits so many calls and reads all results; a call's latency is from its submission to its result being read. */
async function run(
  client: Client,
  name: string,
  count: number,
): Promise<{ seconds: number; latencies: number[] }> {
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

function submit(job: Job, count: number, submittedAt: Float64Array) {
  return job.add(
    (function* () {
      for (let i = 0; i < count; i++) {
        submittedAt[i] = performance.now()
        yield { key: String(i), input: i }
      }
    })(),
  )
}

/** Time per call of a short job that goes first while many other calls wait behind it, and what one that waits weighs. */
async function costWith(client: Client, queued: number) {
  const before = rss()
  const waiting = await client.createJob({
    name: `waiting ${queued}`,
    context: 'noop',
    options: { priority: -1 },
  })
  await submit(waiting, queued, new Float64Array(queued))
  const weight = Math.max(0, rss() - before) / queued
  const { seconds } = await run(client, `beside ${queued}`, 20_000)
  await waiting.cancel()
  return { 'us/call': Math.round((seconds / 20_000) * 1e6), 'bytes/queued task': Math.round(weight) }
}

/** Resident memory of the factory's process, bytes. */
function rss(): number {
  const kb = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${factory.process.pid}/status`, 'utf8'))?.[1]
  return Number(kb) * 1024
}
