import { type ChildProcess, fork } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { connect, type Job } from '../src/client/index.ts'
import { CONTEXT, makeState, removeState } from '../test/support/manager.ts'
import type { FromCrew, ToCrew } from './load/worker-process.ts'
import { ManagerProcess } from './support/manager-process.ts'

/*
 * Thousands of workers, real but for their libraries, over a connection each, and one manager: what it does, how fast it
 * answers, and what it weighs.
 */

const { values } = parseArgs({
  options: {
    workers: { type: 'string', default: '2000' },
    tasks: { type: 'string', default: '1000000' },
    minutes: { type: 'string', default: '10' },
    processes: { type: 'string', default: '2' },
  },
})
const workers = Number(values.workers)
const tasks = Number(values.tasks)
const minutes = Number(values.minutes)
const processes = Number(values.processes)
if (![workers, tasks, minutes, processes].every((n) => n > 0)) {
  console.error('usage: load-workers [--workers N] [--tasks N] [--minutes N] [--processes N]')
  process.exit(2)
}
/** So that all the workers together take the time that was asked for. */
const taskMs = (minutes * 60_000 * workers) / tasks
const SAMPLE_MS = 5_000
const CREW = fileURLToPath(new URL('load/worker-process.ts', import.meta.url))

const latencies: number[] = []
let retries = 0
const rss: number[] = []
const folder = await makeState()
const startedAt = performance.now()
const seconds = () => Math.round((performance.now() - startedAt) / 1000)
const crews: ChildProcess[] = []
try {
  await using manager = new ManagerProcess(folder)
  manager.start()
  const { url } = await manager.ready()
  const pilots = await manager.pilots(workers)
  const share = Math.ceil(workers / processes)
  for (let i = 0; i < workers; i += share) {
    const crew = fork(CREW)
    crew.on('message', (message: FromCrew) => {
      for (const ms of message.latencies) latencies.push(ms)
      retries += message.retries
    })
    crew.send({ url, tokens: pilots.slice(i, i + share).map(({ token }) => token), taskMs } satisfies ToCrew)
    crews.push(crew)
  }

  await using client = connect({ state: folder })
  const job = await client.createJob({ name: 'load', context: CONTEXT.name })
  const submitting = submit(job).then(() => job.close())
  let done = 0
  let sampledAt = 0
  const workStartedAt = performance.now()
  for await (const { results } of job.pages({ limit: 20_000, waitMs: SAMPLE_MS })) {
    done += results.length
    if (performance.now() - sampledAt < SAMPLE_MS) continue
    sampledAt = performance.now()
    const { workers: connected, rate } = await client.status()
    rss.push(memoryOf(manager.pid))
    console.log(
      `${seconds()} s: ${connected.length} workers, ${done} done, ${Math.round(rate)}/s, ` +
        `exchange p99 ${percentile(0.99)} ms, manager ${mb(rss.at(-1)!)} MB`,
    )
    // While the workers are starting, they take each other's time.
    if (connected.length < workers) latencies.length = 0
  }
  await submitting
  const took = (performance.now() - workStartedAt) / 1000
  const { evictions, lost, requeued, duplicates } = await client.status()
  console.log(
    JSON.stringify({
      workers,
      tasks: done,
      seconds: Math.round(took),
      tasks_per_s: Math.round(done / took),
      exchanges: latencies.length,
      p50_ms: percentile(0.5),
      p99_ms: percentile(0.99),
      max_ms: percentile(1),
      timeouts: retries,
      evictions,
      lost,
      requeued,
      duplicates,
      rss_max_mb: mb(Math.max(...rss)),
      rss_last_mb: mb(rss.at(-1)!),
    }),
  )
  if (done !== tasks || retries > 0 || evictions + lost > 0) process.exitCode = 1
} finally {
  for (const crew of crews) crew.disconnect()
  await removeState(folder)
}

function submit(job: Job) {
  return job.add(
    (function* () {
      for (let i = 0; i < tasks; i++)
        yield { key: String(i), input: { n: i, text: 'some words to think about' } }
    })(),
  )
}

function percentile(part: number): number {
  const sorted = Float64Array.from(latencies).sort()
  return Math.round((sorted[Math.ceil(part * sorted.length) - 1] ?? 0) * 10) / 10
}

/** Resident memory of a process, bytes. */
function memoryOf(pid: number): number {
  const kb = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kb) * 1024
}

function mb(bytes: number): number {
  return Math.round(bytes / 1e6)
}
