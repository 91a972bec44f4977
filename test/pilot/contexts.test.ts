import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { describe, test } from 'node:test'
import { until } from '../support/until.ts'
import { startTestManager } from './manager.ts'
import { startWorker } from './process.ts'
import { DOUBLE, loaded, warmWorker } from './stage.ts'

describe('several contexts', () => {
  test('take turns on a slot, and come back from disk without being fetched again', async () => {
    await using manager = await startTestManager()
    await using warm = await warmWorker(manager, DOUBLE)
    const other = await manager.addContext({ 'index.js': 'export const run = (x) => x + 1' })
    manager.warm = [other]
    manager.drop = [warm.context]
    manager.wake()
    await loaded(manager, other)
    const levels = () => new Map(manager.exchanges.at(-1)?.contexts.map((c) => [c.context, c.level]))
    assert.equal(levels().get(warm.context), 'disk')
    await manager.ended(manager.submit(other, [1]))

    const fetchMs = () => manager.exchanges.at(-1)!.contexts.find((c) => c.context === warm.context)!.fetchMs!
    const before = fetchMs()
    manager.warm = [warm.context]
    manager.drop = [other]
    manager.wake()
    await loaded(manager, warm.context)
    assert.ok(fetchMs() - before < before, 'it was fetched again')
    const [task] = manager.submit(warm.context, [21])
    await manager.ended([task!])
    assert.deepEqual(manager.outcomes.get(task!)?.[0]?.outcome, { status: 'done', value: 42 })
    assert.deepEqual(manager.violations, [])
  })

  test('share out the slots of a node with several GPUs', async () => {
    await using manager = await startTestManager()
    await using worker = await startWorker(manager, { GLEANER_GPUS: '0,1' })
    const device = { 'index.js': 'export const run = () => process.env.CUDA_VISIBLE_DEVICES' }
    const context = await manager.addContext(device)
    const other = await manager.addContext({ ...device, 'other.txt': '' })
    manager.warm = [context]
    await until(async () => (await worker.libraries()).length === 2)
    manager.warm = [context, other]
    manager.wake()
    await loaded(manager, other)
    const tasks = [...manager.submit(context, [0]), ...manager.submit(other, [0])]
    await manager.ended(tasks)
    const devices = tasks.map((task) => manager.outcomes.get(task)!.at(-1)!.outcome)
    assert.deepEqual(devices.map((outcome) => outcome.status === 'done' && outcome.value).toSorted(), [
      '0',
      '1',
    ])
    assert.deepEqual(manager.registrations[0]?.slots.length, 2)
  })
})

describe('a context that users manage', () => {
  test('is fetched ahead without a library, and loaded from disk when there is work', async () => {
    await using manager = await startTestManager()
    await using worker = await startWorker(manager)
    const context = await manager.addContext(DOUBLE)
    const reportOf = () => manager.exchanges.at(-1)?.contexts.find((c) => c.context === context)
    manager.ahead = [context]
    await until(() => reportOf()?.level === 'disk')
    assert.deepEqual(await worker.libraries(), [])
    const fetchMs = reportOf()!.fetchMs!
    manager.ahead = []
    manager.warm = [context]
    manager.wake()
    await loaded(manager, context)
    assert.ok(reportOf()!.fetchMs! - fetchMs < 1, 'it was fetched again')
    assert.deepEqual(manager.violations, [])
  })

  test('is gone from memory and disk when it is dropped, and can be had again', async () => {
    await using manager = await startTestManager()
    await using worker = await startWorker(manager)
    const context = await manager.addContext({ 'index.js': 'export const run = () => import.meta.filename' })
    manager.warm = [context]
    const where = async () => {
      const [task] = manager.submit(context, [0])
      await manager.ended([task!])
      const outcome = manager.outcomes.get(task!)!.at(-1)!.outcome
      assert.equal(outcome.status, 'done')
      return outcome.value as string
    }
    const file = await where()
    manager.warm = []
    manager.drop = [context]
    manager.discard = [context]
    manager.wake()
    const level = () => manager.exchanges.at(-1)?.contexts.find((c) => c.context === context)?.level
    await until(() => level() === 'absent')
    await until(() => !existsSync(file))
    assert.deepEqual(await worker.libraries(), [])
    manager.warm = [context]
    manager.drop = []
    manager.wake()
    assert.ok(existsSync(await where()))
    assert.deepEqual(manager.violations, [])
  })
})

describe('what goes wrong in a library', () => {
  test('a setup that fails is reported once, and tried again only when asked', async () => {
    await using manager = await startTestManager()
    await using _worker = await startWorker(manager)
    const context = await manager.addContext({ 'index.js': `throw new Error('the weights are missing')` })
    manager.warm = [context]
    const reportOf = () => manager.exchanges.at(-1)?.contexts.find((c) => c.context === context)
    await until(() => reportOf()?.error !== undefined)
    manager.warm = []
    assert.deepEqual([reportOf()?.error?.message, reportOf()?.level], ['the weights are missing', 'disk'])
    assert.equal(reportOf()?.attempts, 1)
    manager.submit(context, [1])
    manager.warm = [context]
    await until(() => {
      manager.wake()
      return reportOf()?.attempts === 2 && reportOf()?.error !== undefined
    })
    assert.equal(manager.outcomes.size, 0, 'no task was charged')
  })

  test('a task that kills its library is charged, the others run, and the library comes back', async () => {
    await using manager = await startTestManager()
    await using warm = await warmWorker(manager, {
      'index.js': `export async function run(x) { if (x === 'fatal') process.abort(); return x }`,
    })
    const tasks = manager.submit(warm.context, ['a', 'b', 'fatal', 'c', 'd'])
    await manager.ended(tasks)
    const statuses = manager.statusOf(tasks)
    assert.equal(statuses[2], 'crash')
    assert.ok(statuses.filter((status) => status === 'done').length >= 2)
    await manager.ended(manager.submit(warm.context, ['e']))
    assert.deepEqual(manager.violations, [])
  })
})

describe('a node that cannot run a worker', () => {
  test('is told by an exit code and a line that names what is wrong', async () => {
    const nowhere = { url: 'http://127.0.0.1:1', token: 'none' }
    await using incomplete = await startWorker(nowhere, { GLEANER_STARTED: '' })
    assert.equal((await incomplete.exited).code, 64)
    assert.match(incomplete.log(), /error 64 settings: GLEANER_STARTED/)

    await using noToken = await startWorker(nowhere, { GLEANER_TOKEN_FILE: '/nonexistent' })
    assert.equal((await noToken.exited).code, 64)
    assert.match(noToken.log(), /GLEANER_TOKEN_FILE: .*nonexistent/)

    await using noRoom = await startWorker(nowhere, { GLEANER_SCRATCH: '/dev/null/scratch' })
    assert.equal((await noRoom.exited).code, 68)
    assert.match(noRoom.log(), /error 68 no-space: the scratch folder cannot be written/)
  })

  test('a token that is not valid is refused', async () => {
    await using manager = await startTestManager()
    await using worker = await startWorker({ url: manager.url, token: 'stolen' })
    assert.equal((await worker.exited).code, 70)
    assert.match(worker.log(), /error 70 refused/)
  })
})
