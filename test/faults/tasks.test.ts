import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { JobStuckError } from '../../src/client/index.ts'
import { until } from '../support/until.ts'
import { type Behaviour, openWorks, resultsOf } from './support/task-behaviour.ts'

const numbers = (count: number, ms = 1): Behaviour[] =>
  Array.from({ length: count }, (_, value) => ({ ms, value }))

describe('a task', () => {
  test('that crashes its library is set aside after three times, with its error; the rest goes on', async () => {
    await using works = await openWorks()
    await using worker = await works.worker()
    const tasks = numbers(120)
    tasks[50] = { crash: true }
    const rows = await resultsOf(await works.submit(tasks))
    const [poison] = rows.splice(50, 1)
    assert.equal(poison?.status, 'crash')
    assert.match(poison?.error?.message ?? '', /3/)
    assert.ok(rows.every(({ status }) => status === 'done'))
    const { contexts } = await works.client.status()
    // Once at the start, and again after a crash, as long as there is something to run.
    assert.ok(contexts.find(({ context }) => context === 'behave')!.loads >= 3, worker.log())
  })

  test('that hangs meets its time limit; the rest goes on', async () => {
    await using works = await openWorks()
    await using _worker = await works.worker()
    const tasks = numbers(40)
    tasks[7] = { hang: true }
    const rows = await resultsOf(await works.submit(tasks, { options: { timeLimitMs: 700 } }))
    const [hung] = rows.splice(7, 1)
    assert.notEqual(hung?.status, 'done')
    assert.match(hung?.error?.message ?? '', /time limit|700/)
    assert.ok(rows.every(({ status }) => status === 'done'))
  })

  test('that leaks costs its library a restart at the memory limit, and no task its result', async () => {
    await using works = await openWorks()
    await using worker = await works.worker({ GLEANER_MEMORY_MB: '600' })
    const rows = await resultsOf(
      await works.submit(Array.from({ length: 40 }, (_, value) => ({ ms: 20, leakMb: 40, value }))),
    )
    assert.ok(rows.every(({ status, value }, i) => status === 'done' && value === i))
    const loads = (await works.client.status()).contexts.find(({ context }) => context === 'behave')?.loads
    assert.ok(loads! > 1, worker.log())
  })
})

describe('a context whose setup fails', () => {
  test('is reported once with its reason, however many tasks wait, and holds up nothing else', async () => {
    await using works = await openWorks()
    await works.addBroken('broken', 'the model is truncated')
    await using worker = await works.worker()
    const job = await works.submit(numbers(10_000), { context: 'broken' })
    await assert.rejects(resultsOf(job), (error) => {
      assert.ok(error instanceof JobStuckError)
      assert.match(error.message, /context "broken" cannot be set up: .*the model is truncated/)
      return true
    })
    const { done, failed, state } = await job.info()
    assert.deepEqual([done, failed, state], [0, 0, 'open'])
    assert.ok(worker.log().split('the model is truncated').length < 20)
    // It is asked for once more: it is tried once more, at once, and that is all.
    const tries = () => worker.log().split('the model is truncated').length
    const before = tries()
    await assert.rejects(resultsOf(await works.submit(numbers(3), { context: 'broken' })), JobStuckError)
    assert.ok(tries() > before)
    const rows = await resultsOf(await works.submit(numbers(50)))
    assert.ok(rows.every(({ status }) => status === 'done'))
  })
})

describe('at the tail', () => {
  test('what a worker does not get done runs a second time on an idle one, and the first result wins', async () => {
    await using works = await openWorks({ scheduler: { workerTimeoutMs: 30_000, slowMs: 1_000 } })
    await using slow = await works.worker()
    await using _idle = await works.worker()
    let warm = new Set()
    while (warm.size < 2) {
      const rows = await resultsOf(await works.submit(numbers(100, 10)))
      warm = new Set(rows.map(({ worker }) => worker))
    }
    const job = await works.submit(numbers(60, 50))
    await until(async () => (await job.info()).done > 3)
    // Its library stands still, but the worker itself is well and keeps its lease.
    const libraries = await slow.libraries()
    for (const pid of libraries) process.kill(pid, 'SIGSTOP')
    const rows = await resultsOf(job)
    assert.ok(rows.every(({ status, value }, i) => status === 'done' && value === i))
    assert.equal(new Set(rows.map(({ worker }) => worker)).size, 2)
    const { evictions, lost, requeued } = await works.client.status()
    assert.deepEqual([evictions, lost, requeued], [0, 0, 0])
    for (const pid of libraries) process.kill(pid, 'SIGCONT')
  })
})
