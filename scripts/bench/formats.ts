import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, readFileSync } from 'node:fs'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { CONTEXT, HttpWorker, makeState, registration, removeState } from '../../test/support/manager.ts'
import { ManagerProcess } from '../support/manager-process.ts'

/*
 * Memory and speed of `factory run` over tables of several lengths: a real manager, the real command, and a worker that gives each
 * task back its input. Each run reads a CSV file with ids and writes a table.
 *
 *   npm run bench:formats -- --rows 1000000,10000000 --out out.csv
 */

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '200000,1000000' },
    /** What is written; its extension says what kind of file. */
    out: { type: 'string', default: 'out.csv' },
  },
})
const FACTORY = fileURLToPath(new URL('../../bin/factory.js', import.meta.url))
/** Tasks that the worker takes at once. */
const ROOM = 5_000
const SAMPLE_MS = 200
/** How many rows lie between two lines that say what the command's memory is by then. */
const SAY_EVERY = 1_000_000

const runs = []
for (const rows of values.rows.split(',').map(Number)) {
  const run = await measure(rows)
  console.log(
    `${run.rows} rows: ${run.seconds} s, ${run.rows_per_s} rows/s, at most ${run.rss_mb} MB (manager ${run.manager_mb} MB), output ${run.output_mb} MB`,
  )
  runs.push(run)
}
console.log(JSON.stringify({ out: values.out, runs }))

async function measure(rows: number) {
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-bench-formats-'))
  const state = await makeState()
  try {
    await pipeline(Readable.from(table(rows)), createWriteStream(join(folder, 'in.csv')))
    await using manager = new ManagerProcess(state)
    manager.start()
    const { url } = await manager.ready()
    const [pilot] = await manager.pilots(1)
    const worker = await HttpWorker.join(url, pilot!.token, registration())
    const over = new AbortController()
    let ran = 0
    const working = work(worker, over.signal, (tasks) => (ran += tasks))

    const startedAt = performance.now()
    const args = ['--state', state, 'run', 'in.csv', '--context', CONTEXT.name, '--out', values.out]
    const child = spawn(process.execPath, [FACTORY, ...args], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    const ended = once(child, 'exit')
    let peak = 0
    let managerPeak = 0
    let said = 0
    const timer = setInterval(() => {
      peak = Math.max(peak, memoryOf(child.pid!))
      managerPeak = Math.max(managerPeak, memoryOf(manager.pid))
      if (ran < said + SAY_EVERY) return
      said = ran - (ran % SAY_EVERY)
      const seconds = Math.round((performance.now() - startedAt) / 1000)
      console.log(
        `${said} rows after ${seconds} s: ${megabytes(peak)} MB (manager ${megabytes(managerPeak)} MB)`,
      )
    }, SAMPLE_MS)
    const [code] = (await ended) as [number]
    clearInterval(timer)
    over.abort()
    await working
    if (code !== 0) throw new Error(`the run ended with ${code}`)
    const seconds = (performance.now() - startedAt) / 1000
    const { size } = await stat(join(folder, values.out))
    return {
      rows,
      seconds: Math.round(seconds),
      rows_per_s: Math.round(rows / seconds),
      rss_mb: megabytes(peak),
      manager_mb: megabytes(managerPeak),
      output_mb: megabytes(size),
    }
  } finally {
    await removeState(state)
    await rm(folder, { recursive: true, force: true })
  }
}

function* table(rows: number) {
  yield 'id,claim,topic\n'
  let lines: string[] = []
  for (let i = 0; i < rows; i++) {
    lines.push(`row-${i},"claim number ${i}, of which there are many",topic ${i % 97}\n`)
    if (lines.length < 1000 && i + 1 < rows) continue
    yield lines.join('')
    lines = []
  }
}

async function work(worker: HttpWorker, over: AbortSignal, ranMore: (tasks: number) => void): Promise<void> {
  while (!over.aborted) if ((await worker.workUntilIdle(ROOM, ranMore)) === 0) await delay(20)
  await worker.die()
}

/** The most that a process has had in memory so far, bytes; 0 once it is gone. */
function memoryOf(pid: number): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1e6)
}
