import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { describe, test } from 'node:test'
import { until } from '../../support/until.ts'
import { startTestManager, type TestManager } from '../support/test-manager.ts'
import { startWorker } from '../support/pilot-process.ts'
import { DOUBLE, loaded, warmWorker } from '../support/worker-stage.ts'

/** Says in which process it runs. */
const WHO = { 'index.js': 'export const run = () => process.pid' }
/** The same, and is so large that no two of them fit 512 MiB. */
const LARGE = {
  'index.js': `const held = Buffer.alloc(200 << 20, 1); export const run = () => [process.pid, held.length][0]`,
}
/** Takes about 140 MiB, of which three fit 768 MiB, and grows by as many as it is called with. */
const GROWS = {
  'index.js': `
    const held = [Buffer.alloc(100 << 20, 1)]
    export const run = (mib) => held.push(Buffer.alloc(mib << 20, 1))`,
}

/** Runs one task of each context after the other, so many times; says what they answered. */
async function takeTurns(manager: TestManager, contexts: string[], times: number) {
  const answers = contexts.map((): unknown[] => [])
  for (let i = 0; i < times; i++) {
    for (const [which, context] of contexts.entries()) {
      manager.warm = [context]
      const [task] = manager.submit(context, [0])
      await manager.ended([task!])
      const { outcome } = manager.outcomes.get(task!)!.at(-1)!
      answers[which]!.push(outcome.status === 'done' ? outcome.value : outcome)
    }
  }
  return answers
}

function levelsOf(manager: TestManager, contexts: string[]) {
  const levels = new Map(manager.exchanges.at(-1)?.contexts.map((report) => [report.context, report.level]))
  return contexts.map((context) => levels.get(context))
}

describe('several contexts', () => {
  test('take turns on a slot and stay loaded while both fit', async () => {
    await using manager = await startTestManager()
    await using worker = await startWorker(manager)
    const contexts = [await manager.addContext(WHO), await manager.addContext({ ...WHO, 'other.txt': '' })]
    const answers = await takeTurns(manager, contexts, 3)
    assert.equal(new Set(answers[0]).size, 1, 'the first was loaded again')
    assert.equal(new Set(answers[1]).size, 1, 'the second was loaded again')
    assert.deepEqual(levelsOf(manager, contexts), ['memory', 'memory'])
    assert.equal((await worker.libraries()).length, 2)
    assert.deepEqual(manager.violations, [])
  })

  test('take turns from disk where both do not fit, without being fetched again', async () => {
    await using manager = await startTestManager()
    await using worker = await startWorker(manager, { GLEANER_MEMORY_MB: '512' })
    const contexts = [
      await manager.addContext(LARGE),
      await manager.addContext({ ...LARGE, 'other.txt': '' }),
    ]
    await takeTurns(manager, contexts, 1)
    manager.sourced.clear()
    const answers = await takeTurns(manager, contexts, 2)
    assert.equal(new Set(answers.flat()).size, 4, 'each turn has a library of its own')
    assert.equal(manager.sourced.size, 0, 'something was fetched again')
    assert.deepEqual(levelsOf(manager, contexts), ['disk', 'memory'])
    assert.equal((await worker.libraries()).length, 1)
    assert.deepEqual(manager.violations, [])
  })

  test('drive out the one that was used least recently, also by growing', async () => {
    await using manager = await startTestManager()
    await using worker = await startWorker(manager, { GLEANER_MEMORY_MB: '768' })
    const contexts = [
      await manager.addContext(GROWS),
      await manager.addContext({ ...GROWS, '1.txt': '' }),
      await manager.addContext({ ...GROWS, '2.txt': '' }),
    ]
    await takeTurns(manager, contexts, 1)
    assert.deepEqual(levelsOf(manager, contexts), ['memory', 'memory', 'memory'])
    manager.warm = [contexts[2]!]
    await manager.ended(manager.submit(contexts[2]!, [330]))
    await until(() => levelsOf(manager, contexts)[0] === 'disk')
    assert.deepEqual(levelsOf(manager, contexts), ['disk', 'memory', 'memory'])
    await until(async () => (await worker.libraries()).length === 2)
    manager.discard = [contexts[1]!]
    manager.wake()
    await until(() => levelsOf(manager, contexts)[1] === 'absent')
    assert.equal((await worker.libraries()).length, 1)
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
    await using _worker = await startWorker(manager)
    const context = await manager.addContext(DOUBLE)
    const reportOf = () => manager.exchanges.at(-1)?.contexts.find((c) => c.context === context)
    manager.ahead = [context]
    await until(() => reportOf()?.level === 'disk')
    assert.deepEqual([reportOf()!.doing, reportOf()!.loadMs], [undefined, 0])
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
    manager.discard = [context]
    manager.wake()
    const level = () => manager.exchanges.at(-1)?.contexts.find((c) => c.context === context)?.level
    await until(() => level() === 'absent')
    await until(() => !existsSync(file))
    assert.deepEqual(await worker.libraries(), [])
    manager.warm = [context]
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
