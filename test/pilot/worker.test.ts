import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { startTestManager } from './manager.ts'
import { startWorker } from './process.ts'

describe('a worker', () => {
  test('brings a context up, runs its tasks, and leaves when it is drained', async () => {
    await using manager = await startTestManager()
    await using worker = await startWorker(manager)
    const context = await manager.addContext({ 'index.js': 'export const run = (x) => x * 2' })
    manager.warm = [context]
    const tasks = manager.submit(context, [1, 2, 3])
    await manager.ended(tasks)
    assert.deepEqual(
      tasks.map((task) => manager.outcomes.get(task)?.map(({ outcome }) => outcome)),
      [2, 4, 6].map((value) => [{ status: 'done', value }]),
    )
    manager.drain = true
    manager.submit(context, [])
    assert.deepEqual(await worker.exited, { code: 0, signal: null })
    assert.equal(manager.exchanges.at(-1)?.leaving, 'drain')
    assert.deepEqual(manager.violations, [])
  })
})
