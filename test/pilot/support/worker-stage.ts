import assert from 'node:assert/strict'
import { until } from '../../support/until.ts'
import type { TestManager } from './test-manager.ts'
import { startWorker, type WorkerProcess } from './pilot-process.ts'

/** A module whose function doubles its input. */
export const DOUBLE = { 'index.js': 'export const run = (x) => x * 2' }
/** One whose function takes as many milliseconds as its input says. */
export const SLEEP = {
  'index.js': 'export const run = (ms) => new Promise((done) => setTimeout(done, ms, ms))',
}

/** Waits until the worker holds a context loaded. */
export function loaded(manager: TestManager, context: string): Promise<void> {
  return until(() =>
    Boolean(manager.exchanges.at(-1)?.contexts.some((c) => c.context === context && c.level === 'memory')),
  )
}

/** A worker with a context loaded. */
export async function warmWorker(
  manager: TestManager,
  files: Record<string, string>,
  env?: Record<string, string>,
) {
  await using stack = new AsyncDisposableStack()
  const context = await manager.addContext(files)
  manager.warm = [context]
  const worker = stack.use(await startWorker(manager, env))
  await loaded(manager, context)
  const resources = stack.move()
  return { worker, context, [Symbol.asyncDispose]: () => resources.disposeAsync() }
}

/** The worker left in good order, and never broke the protocol. */
export async function leftWell(manager: TestManager, worker: WorkerProcess, reason: string): Promise<void> {
  assert.deepEqual(await worker.exited, { code: 0, signal: null }, worker.log())
  assert.equal(manager.exchanges.at(-1)?.leaving, reason)
  assert.deepEqual(manager.exchanges.at(-1)?.leases, [])
  assert.deepEqual(manager.violations, [])
}
