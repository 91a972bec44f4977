import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { until } from '../support/until.ts'
import { startTestManager } from './support/test-manager.ts'
import { isAlive, startWorker } from './support/pilot-process.ts'
import { DOUBLE, leftWell, SLEEP, warmWorker } from './support/worker-stage.ts'

describe('a worker told to leave by the batch system', () => {
  test('hands back what it cannot end in time, keeps what it has done, and is gone within the grace', async () => {
    await using manager = await startTestManager()
    await using warm = await warmWorker(manager, SLEEP)
    const quick = manager.submit(warm.context, [1])
    await manager.ended(quick)
    const slow = manager.submit(warm.context, Array<number>(3).fill(60_000))
    await until(() => manager.leased() > 0)
    warm.worker.kill('SIGTERM')
    warm.worker.kill('SIGTERM')
    await leftWell(manager, warm.worker, 'eviction')
    assert.deepEqual(manager.statusOf(slow), ['returned', 'returned', 'returned'])
    assert.equal(manager.outcomes.get(quick[0]!)?.length, 1)
  })

  test('ends what runs if that is a matter of moments', async () => {
    await using manager = await startTestManager()
    await using warm = await warmWorker(manager, SLEEP)
    const tasks = manager.submit(warm.context, [400, 400])
    await until(() => manager.leased() > 0)
    warm.worker.kill('SIGTERM')
    await leftWell(manager, warm.worker, 'eviction')
    assert.deepEqual(manager.statusOf(tasks), ['done', 'done'])
  })

  test('before it has reached the manager just goes', async () => {
    await using worker = await startWorker({ url: 'http://127.0.0.1:1', token: 'none' })
    await until(() => worker.log().includes('will ask the manager again'))
    worker.kill('SIGTERM')
    assert.deepEqual(await worker.exited, { code: 0, signal: null })
  })

  test('says so when it cannot tell the manager in time', async () => {
    await using manager = await startTestManager()
    await using warm = await warmWorker(manager, DOUBLE)
    await manager.stop()
    warm.worker.kill('SIGTERM')
    assert.deepEqual(await warm.worker.exited, { code: 69, signal: null })
    assert.match(warm.worker.log(), /error 69 unreachable/)
    await manager.start()
  })

  test('killed without warning takes its libraries with it', async () => {
    await using manager = await startTestManager()
    await using warm = await warmWorker(manager, DOUBLE)
    const libraries = await warm.worker.libraries()
    assert.equal(libraries.length, 1)
    warm.worker.kill('SIGKILL')
    await warm.worker.exited
    await until(() => !libraries.some(isAlive))
  })
})

describe('a worker whose job ends at a known time', () => {
  test('takes nothing that cannot end by then, and leaves in time', async () => {
    const begunAt = Date.now()
    {
      await using manager = await startTestManager()
      await using _ = await warmWorker(manager, SLEEP)
    }
    await using manager = await startTestManager()
    // As long as this machine takes to have a worker ready, and a few seconds to work.
    const deadline = Date.now() + 3 * (Date.now() - begunAt) + 4_000
    const env = { GLEANER_DEADLINE: String(deadline / 1000), GLEANER_GRACE: '2' }
    await using warm = await warmWorker(manager, SLEEP, env)
    const more = Math.ceil((2 * (deadline - Date.now())) / 200)
    const tasks = manager.submit(warm.context, Array<number>(more).fill(200))
    await leftWell(manager, warm.worker, 'walltime')
    assert.ok(Date.now() < deadline)
    const ends = manager.statusOf(tasks)
    assert.ok(ends.filter((end) => end === 'done').length >= 5, `${ends.join()}`)
    assert.ok(!ends.includes('returned'), 'it took what it could not end')
    assert.ok(ends.includes(undefined))
  })
})
