import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ManagerOptions } from '../../../src/manager/manager.ts'
import { type Client, connect, type Job, type ResultRow } from '../../../src/client/index.ts'
import type { CreateJobRequest } from '../../../src/protocol/client.ts'
import type { JsonValue } from '../../../src/protocol/primitives.ts'
import { startWorker, type WorkerProcess } from '../../pilot/support/pilot-process.ts'
import { makeState, removeState, startOn } from '../../support/manager.ts'

/** What a task's input says its function does, after `ms` milliseconds; then it returns `value`. */
export interface Behaviour {
  ms?: number
  value?: JsonValue
  /** Ends the library's process; never returns; takes so many MB and keeps them. */
  crash?: boolean
  hang?: boolean
  leakMb?: number
}

const MODULE = `
const kept = []
export function setup(message) {
  if (message) throw new Error(message)
}
export async function run({ ms = 1, value = null, crash, hang, leakMb }) {
  if (leakMb) kept.push(Buffer.alloc(leakMb * 1_000_000, 1))
  await new Promise((done) => setTimeout(done, ms))
  if (crash) process.exit(3)
  if (hang) for (;;);
  return value
}
`

/** A real manager, real workers, and tasks that behave as their inputs say. */
export interface Works extends AsyncDisposable {
  readonly url: string
  readonly client: Client
  /** A running worker. What is in `prefix` goes before its command, to run it elsewhere. */
  worker: (env?: Record<string, string>, prefix?: string[]) => Promise<WorkerProcess>
  /** A job of these tasks, complete and closed. Their keys are their places. */
  submit: (tasks: Behaviour[], request?: Partial<CreateJobRequest>) => Promise<Job>
  /** Makes the context `name`, whose setup fails with a message. */
  addBroken: (name: string, message: string) => Promise<void>
}

export async function openWorks(options: Partial<ManagerOptions> = {}): Promise<Works> {
  await using cleanup = new AsyncDisposableStack()
  const state = await makeState()
  cleanup.defer(() => removeState(state))
  const manager = await startOn(state, { scheduler: { workerTimeoutMs: 3_000, suspectMs: 500 }, ...options })
  cleanup.defer(() => manager.close())
  const client = cleanup.use(connect({ state }))
  const addContext = async (name: string, args: string[] = []) => {
    const folder = join(state, name)
    await mkdir(join(folder, 'code'), { recursive: true })
    await writeFile(join(folder, 'code', 'behave.mjs'), MODULE)
    const setup = { bundle: 'code', file: 'behave.mjs', call: 'setup', args }
    const functions = { run: { export: 'run' } }
    const context = { name, library: 'module', bundles: { code: 'code' }, setup, functions }
    await writeFile(join(folder, 'context.yaml'), JSON.stringify(context))
    await client.addContext(folder)
  }
  await addContext('behave')
  let jobs = 0
  const rest = cleanup.move()
  return {
    url: manager.url,
    client,
    worker: (env = {}, prefix = []) => {
      const { token } = manager.registry.create('test', 1)[0]!
      const ca = manager.caFile === undefined ? {} : { GLEANER_CA_FILE: manager.caFile }
      return startWorker({ url: manager.url, token }, { ...ca, ...env }, prefix)
    },
    async submit(tasks, request = {}) {
      const job = await client.createJob({ name: `job${++jobs}`, context: 'behave', ...request })
      await job.add(tasks.map((input, i) => ({ key: String(i), input })))
      await job.close()
      return job
    },
    addBroken: (name, message) => addContext(name, [message]),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

/** Waits until every task of the job has its result: exactly one each, in the order of the tasks. */
export async function resultsOf(job: Job, ms = 600_000): Promise<ResultRow[]> {
  const { tasks } = await job.info()
  const rows: (ResultRow | undefined)[] = Array.from({ length: tasks })
  for await (const row of job.results({ waitMs: 1_000, signal: AbortSignal.timeout(ms) })) {
    assert.equal(rows[Number(row.key)], undefined, `task ${row.key} has two results`)
    rows[Number(row.key)] = row
  }
  return rows.map((row, key) => row ?? assert.fail(`task ${key} has no result`))
}
