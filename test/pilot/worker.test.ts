import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, test } from 'node:test'
import { until } from '../support/until.ts'
import { startTestManager, type TestManager } from './manager.ts'
import { isAlive, startWorker, type WorkerProcess } from './process.ts'

const DOUBLE = { 'index.js': 'export const run = (x) => x * 2' }
/** Runs for as many milliseconds as its input says. */
const SLEEP = { 'index.js': 'export const run = (ms) => new Promise((done) => setTimeout(done, ms, ms))' }

const loaded = (manager: TestManager, context: string) =>
  until(() =>
    Boolean(manager.exchanges.at(-1)?.contexts.some((c) => c.context === context && c.level === 'memory')),
  )

/** A worker with a context loaded. */
async function warmWorker(manager: TestManager, files: Record<string, string>, env?: Record<string, string>) {
  const worker = await startWorker(manager, env)
  const context = await manager.addContext(files)
  manager.warm = [context]
  await loaded(manager, context)
  return { worker, context, [Symbol.asyncDispose]: () => worker[Symbol.asyncDispose]() }
}

/** It left in good order, and never broke the protocol. */
async function leftWell(manager: TestManager, worker: WorkerProcess, reason: string) {
  assert.deepEqual(await worker.exited, { code: 0, signal: null }, worker.log())
  assert.equal(manager.exchanges.at(-1)?.leaving, reason)
  assert.deepEqual(manager.exchanges.at(-1)?.leases, [])
  assert.deepEqual(manager.violations, [])
}

describe('a worker', () => {
  test('brings a context up, runs its tasks, and leaves when it is drained', async () => {
    await using manager = await startTestManager()
    await using warm = await warmWorker(manager, DOUBLE)
    const tasks = manager.submit(warm.context, [1, 2, 3])
    await manager.ended(tasks)
    assert.deepEqual(
      tasks.map((task) => manager.outcomes.get(task)?.map(({ outcome }) => outcome)),
      [2, 4, 6].map((value) => [{ status: 'done', value }]),
    )
    manager.drain = true
    manager.wake()
    await leftWell(manager, warm.worker, 'drain')
    const [registration] = manager.registrations
    assert.ok(registration && registration.bootedAt >= registration.startedAt)
    assert.equal(registration.slots.length, 1)
  })

  test('reports the way up: what it is doing, and how long it took', async () => {
    await using manager = await startTestManager()
    await using warm = await warmWorker(manager, { ...DOUBLE, 'weights.bin': 'x'.repeat(5_000_000) })
    const reports = manager.exchanges.flatMap(({ contexts }) => contexts)
    assert.ok(reports.some(({ doing, level }) => doing === 'fetching' && level === 'absent'))
    assert.ok(reports.some(({ doing, level }) => doing === 'loading' && level === 'disk'))
    const last = reports.at(-1)!
    assert.equal(last.context, warm.context)
    assert.ok(last.fetchMs! > 0 && last.loadMs! > 0 && last.memory! > 0 && last.attempts === 1)
  })

  test('asks for more as it learns how fast it is, and for no more than it does in the target time', async () => {
    await using manager = await startTestManager()
    manager.terms.leaseTargetMs = 1_000
    await using warm = await warmWorker(manager, SLEEP)
    assert.deepEqual(manager.exchanges.at(-1)?.want, [{ context: warm.context, tasks: 2 }])
    const tasks = manager.submit(warm.context, Array<number>(150).fill(10))
    await manager.ended(tasks)
    const inHand: number[] = []
    let done = 0
    for (const { want, results } of manager.exchanges) {
      done += results.length
      inHand.push(want[0]?.tasks ?? 0)
    }
    assert.equal(done, 150)
    assert.ok(Math.max(...inHand) > 40, 'it never asked for much')
    assert.ok(Math.max(...inHand) < 130, `it asked for ${Math.max(...inHand)} tasks of 10 ms for a second`)
  })

  test('loses no result and doubles none when answers are lost', async () => {
    await using manager = await startTestManager()
    await using warm = await warmWorker(manager, DOUBLE)
    let exchanges = 0
    const repeated = new Set<number>()
    manager.fault = ({ seq }) => {
      if (manager.exchanges.some((earlier) => earlier.seq === seq)) repeated.add(seq)
      return exchanges++ % 3 === 0 ? 'lose' : undefined
    }
    const tasks = manager.submit(
      warm.context,
      Array.from({ length: 500 }, (_, i) => i),
    )
    await manager.ended(tasks, 30_000)
    assert.ok(repeated.size > 0, 'no request was repeated')
    const values = tasks.map((task) => manager.outcomes.get(task)!.at(-1)!.outcome)
    assert.deepEqual(
      values,
      tasks.map((_, i) => ({ status: 'done', value: 2 * i })),
    )
    manager.fault = () => undefined
    warm.worker.kill('SIGTERM')
    await leftWell(manager, warm.worker, 'eviction')
  })

  test('goes on computing while the manager is away, and brings the results when it is back', async () => {
    await using manager = await startTestManager()
    await using warm = await warmWorker(manager, {
      'index.js': `import { appendFileSync } from 'node:fs'
        export function run({ file, x }) { appendFileSync(file, 'x'); return x }`,
    })
    const file = path.join(warm.worker.folder, 'ran')
    await writeFile(file, '')
    const first = manager.submit(warm.context, [{ file, x: 0 }])
    await manager.ended(first)
    await manager.stop()
    await manager.start()
    const tasks = manager.submit(
      warm.context,
      Array.from({ length: 50 }, (_, x) => ({ file, x })),
    )
    await manager.ended(tasks, 20_000)
    assert.deepEqual(manager.violations, [])
  })

  test('ends with a reason when its session is revoked', async () => {
    await using manager = await startTestManager()
    await using warm = await warmWorker(manager, DOUBLE)
    manager.revoke()
    assert.deepEqual(await warm.worker.exited, { code: 70, signal: null })
    assert.match(warm.worker.log(), /^gleaner: worker on \S+: error 70 refused: this token is not valid$/m)
  })

  test('leaves when it has been idle for long', async () => {
    await using manager = await startTestManager()
    manager.terms.idleMs = 500
    await using warm = await warmWorker(manager, DOUBLE)
    await leftWell(manager, warm.worker, 'idle')
  })

  test('forgets tasks that are cancelled, and leases that have lapsed', async () => {
    await using manager = await startTestManager()
    manager.terms.leaseTargetMs = 60_000
    await using warm = await warmWorker(manager, SLEEP)
    await manager.ended(manager.submit(warm.context, Array<number>(4).fill(20)))
    const tasks = manager.submit(warm.context, Array<number>(8).fill(100))
    await until(() => manager.leased() === 8)
    manager.cancel(tasks.slice(5))
    await manager.ended(tasks.slice(0, 5))
    await manager.ended(manager.submit(warm.context, [1]))
    assert.deepEqual(manager.statusOf(tasks.slice(6)), [undefined, undefined], 'it ran what was cancelled')

    const others = manager.submit(warm.context, Array<number>(8).fill(100))
    await until(() => manager.leased() === 8)
    manager.revokeLeases()
    await manager.ended(others)
    const runs = others.map((task) => manager.outcomes.get(task)!.length)
    assert.ok(runs.at(-1) === 1, 'it ran what had lapsed and what it got for it')
    assert.deepEqual(manager.violations, [])
  })
})

describe('a worker told to leave by the batch system', () => {
  test('hands back what it cannot end in time, keeps what it has done, and is gone within the grace', async () => {
    await using manager = await startTestManager()
    await using warm = await warmWorker(manager, SLEEP)
    const quick = manager.submit(warm.context, [1])
    await manager.ended(quick)
    const slow = manager.submit(warm.context, Array<number>(3).fill(60_000))
    await until(() => manager.leased() > 0)
    const told = performance.now()
    warm.worker.kill('SIGTERM')
    warm.worker.kill('SIGTERM')
    await leftWell(manager, warm.worker, 'eviction')
    assert.ok(performance.now() - told < 4_000)
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
    const told = performance.now()
    warm.worker.kill('SIGTERM')
    assert.deepEqual(await warm.worker.exited, { code: 69, signal: null })
    assert.ok(performance.now() - told < 4_000)
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
    await using manager = await startTestManager()
    const deadline = Date.now() + 7_000
    const env = { GLEANER_DEADLINE: String(deadline / 1000), GLEANER_GRACE: '2' }
    await using warm = await warmWorker(manager, SLEEP, env)
    const tasks = manager.submit(warm.context, Array<number>(100).fill(200))
    await leftWell(manager, warm.worker, 'walltime')
    assert.ok(Date.now() < deadline)
    const ends = manager.statusOf(tasks)
    assert.ok(ends.filter((end) => end === 'done').length >= 5, `${ends.join()}`)
    assert.ok(!ends.includes('returned'), 'it took what it could not end')
    assert.ok(ends.includes(undefined))
  })
})

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
