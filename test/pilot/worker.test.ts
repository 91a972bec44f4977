import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, test } from 'node:test'
import { until } from '../support/until.ts'
import { startWorker } from './support/pilot-process.ts'
import { startTestManager } from './support/test-manager.ts'
import { DOUBLE, leftWell, loaded, SLEEP, warmWorker } from './support/worker-stage.ts'

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
    await using worker = await startWorker(manager)
    const gate = path.join(worker.folder, 'gate')
    const opened = `import { existsSync } from 'node:fs'
      while (!existsSync('${gate}')) await new Promise((look) => setTimeout(look, 10))\n`
    const context = await manager.addContext({
      'index.js': opened + DOUBLE['index.js'],
      'weights.bin': 'x'.repeat(5_000_000),
    })
    manager.warm = [context]
    const reports = () => manager.exchanges.flatMap(({ contexts }) => contexts)
    await until(() => reports().some(({ doing, level }) => doing === 'loading' && level === 'disk'))
    await writeFile(gate, '')
    await loaded(manager, context)
    assert.ok(reports().some(({ doing, level }) => doing === 'fetching' && level === 'absent'))
    const last = reports().at(-1)!
    assert.equal(last.context, context)
    assert.ok(last.fetchMs! > 0 && last.loadMs! > 0 && last.memory! > 0 && last.attempts === 1)
  })

  test('asks for more as it learns how fast it is, and for no more than it does in the target time', async () => {
    await using manager = await startTestManager()
    manager.terms.leaseTargetMs = 1_000
    await using warm = await warmWorker(manager, SLEEP)
    assert.deepEqual(manager.exchanges.at(-1)?.want, [{ context: warm.context, tasks: 2, least: 2 }])
    const tasks = manager.submit(warm.context, Array<number>(150).fill(10))
    await manager.ended(tasks)
    const inHand: number[] = []
    for (const { want } of manager.exchanges) inHand.push(want[0]?.tasks ?? 0)
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
    manager.terms.leaseTargetMs = 60_000
    await using warm = await warmWorker(manager, {
      'index.js': `import { appendFileSync } from 'node:fs'
        export const run = (file) => new Promise((done) => setTimeout(() => {
          appendFileSync(file, 'x')
          done('ran')
        }, 20))`,
    })
    const file = path.join(warm.worker.folder, 'runs')
    const runs = async () => (await readFile(file, 'utf8')).length
    await manager.ended(manager.submit(warm.context, Array<string>(10).fill(file)))
    const tasks = manager.submit(warm.context, Array<string>(30).fill(file))
    // It has got them when it runs one; the manager has no result of them yet.
    await until(async () => (await runs()) > 10)
    await manager.stop()
    const heard = manager.outcomes.size
    await until(async () => (await runs()) === 40)
    assert.equal(manager.outcomes.size, heard)
    await manager.start()
    await manager.ended(tasks)
    assert.deepEqual(
      tasks.map((task) => manager.outcomes.get(task)?.length),
      tasks.map(() => 1),
    )
    assert.equal(await runs(), 40, 'a task ran twice')
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
