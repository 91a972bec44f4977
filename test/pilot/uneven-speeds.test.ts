import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import { connect } from '../../src/client/index.ts'
import { makeState, registerContext, removeState, startOn } from '../support/manager.ts'
import { startWorker } from './support/pilot-process.ts'

/** Long beside what a slow machine adds to it. */
const FAST_MS = 25
const SLOW_MS = 8 * FAST_MS
const TASKS = 300
const LEASE_TARGET_MS = 1_000

test('workers that differ eightfold in speed end within one lease of each other', async () => {
  await using cleanup = new AsyncDisposableStack()
  const state = await makeState()
  cleanup.defer(() => removeState(state))
  const manager = await startOn(state, { leaseTargetMs: LEASE_TARGET_MS })
  cleanup.defer(() => manager.close())
  const folder = path.join(state, 'speeds')
  await mkdir(path.join(folder, 'code'), { recursive: true })
  await writeFile(
    path.join(folder, 'code', 'index.mjs'),
    'export const run = (x) => new Promise((done) => setTimeout(done, Number(process.env.TASK_MS), x))',
  )
  const setup = 'setup: { bundle: code, file: index.mjs }\nfunctions: { run: { export: run } }'
  await writeFile(
    path.join(folder, 'context.yaml'),
    `name: speeds\nlibrary: module\nbundles: { code: code }\n${setup}\n`,
  )
  await registerContext(manager, folder)
  for (const ms of [FAST_MS, SLOW_MS]) {
    const { token } = manager.registry.create('test', 1)[0]!
    cleanup.use(await startWorker({ url: manager.url, token }, { TASK_MS: String(ms) }))
  }

  const client = cleanup.use(connect({ state }))
  const job = await client.createJob({ name: 'job', context: 'speeds' })
  await job.add(Array.from({ length: TASKS }, (_, i) => ({ key: String(i), input: i })))
  await job.close()
  const counts = new Map<string, number>()
  const lastAt = new Map<string, number>()
  for await (const { worker } of job.results()) {
    counts.set(worker!, (counts.get(worker!) ?? 0) + 1)
    lastAt.set(worker!, performance.now())
  }
  const [few, many] = [...counts.values()].toSorted((a, b) => a - b)
  assert.ok(many! > 4 * few!, `${many} tasks to ${few}: the fast one did not get more`)
  const [first, last] = [...lastAt.values()].toSorted((a, b) => a - b)
  assert.ok(last! - first! < LEASE_TARGET_MS, `one was idle for the last ${last! - first!} ms`)
})
