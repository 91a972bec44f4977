import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ResultRow } from '../../src/client/index.ts'
import { eventually } from '../factory/support/eventually.ts'
import { type Plant, clusterPlant, words } from './support/cluster-factory.ts'

function assertAllDone(rows: ResultRow[], count: number) {
  assert.equal(rows.length, count)
  assert.equal(new Set(rows.map(({ key }) => key)).size, count)
  assert.deepEqual(new Set(rows.map(({ status }) => status)), new Set(['done']))
}

/** Looks at the queues again and again until it is disposed of, and remembers the most jobs each site had. */
function watchQueues(plant: Plant) {
  const most = new Map<string, number>()
  let watching = true
  const watch = async () => {
    while (watching) {
      const jobs = await plant.jobs()
      for (const [site, list] of Map.groupBy(jobs, ({ site }) => site))
        most.set(site, Math.max(most.get(site) ?? 0, list.length))
      await sleep(200)
    }
  }
  const done = watch()
  return {
    most,
    async [Symbol.asyncDispose]() {
      watching = false
      await done
    },
  }
}

const memoryHolders = async (plant: Plant) =>
  (await plant.status()).workers.filter(({ contexts }) => contexts.some(({ level }) => level === 'memory'))

// The first one waits for a walltime to pass, with little to do: the others need not wait for it.
describe('a factory on both systems', { concurrency: true }, () => {
  test('lets a pilot start nothing that its walltime would cut off', async () => {
    await using plant = clusterPlant({
      slurm: {
        kind: 'slurm',
        count: 2,
        partition: 'low',
        walltime: '1m',
        extraLines: ['#SBATCH --nodelist=n8'],
      },
      htcondor: { kind: 'htcondor', count: 2, walltime: '1m' },
    })
    await plant.start()
    const log = join(plant.folder, 'calls.log')
    const rows = await plant.run('longer than a walltime', words(70, 4000, log))
    assertAllDone(rows, 70)
    assert.ok(new Set(rows.map(({ worker }) => worker)).size > 4, 'it took more than one pilot after another')
    const calls = readFileSync(log, 'utf8').trim().split('\n')
    assert.deepEqual(
      calls.filter((call, index) => calls.indexOf(call) !== index),
      [],
      'tasks that were begun twice',
    )
  })

  describe('one after another', { concurrency: false }, () => {
    test('goes on after kill -9 with the pilots it had, still warm, and never has more than it may', async () => {
      await using plant = clusterPlant({
        slurm: { kind: 'slurm', count: 2, partition: 'low' },
        htcondor: { kind: 'htcondor', policy: 'opportunistic', pending: 1, max: 3 },
      })
      const first = await plant.start()
      await using queues = watchQueues(plant)
      const rows = plant.run('through a kill', words(3000, 25))
      rows.catch(() => {})
      await eventually('five pilots work', async () => (await memoryHolders(plant)).length === 5, 90)
      const before = { jobs: await plant.jobs(), workers: await memoryHolders(plant) }

      first.kill('SIGKILL')
      await once(first, 'exit')
      await plant.start()
      const after = await eventually(
        'it has found them',
        async () => {
          const workers = await memoryHolders(plant)
          return workers.length === 5 && workers
        },
        30,
      )
      assert.deepEqual(new Set(after.map(({ id }) => id)), new Set(before.workers.map(({ id }) => id)))
      assert.deepEqual(
        new Set((await plant.jobs()).map(({ jobId }) => jobId)),
        new Set(before.jobs.map(({ jobId }) => jobId)),
      )
      assertAllDone(await rows, 3000)
      assert.deepEqual(Object.fromEntries(queues.most), { slurm: 2, htcondor: 3 })
    })

    test('leaves no job behind when it is stopped in the middle of work', async () => {
      await using plant = clusterPlant({
        slurm: { kind: 'slurm', count: 2, partition: 'low' },
        htcondor: { kind: 'htcondor', count: 2 },
        waiting: { kind: 'slurm', count: 2, extraLines: ['#SBATCH --begin=now+1hour'] },
      })
      const factory = await plant.start()
      const rows = plant.run('cut short', words(5000, 50))
      rows.catch(() => {})
      await eventually(
        'all work or wait',
        async () => (await plant.jobs()).length === 6 && (await memoryHolders(plant)).length === 4,
        90,
      )
      const exit = once(factory, 'exit')
      await plant.client.stop()
      assert.deepEqual(await exit, [0, null])
      assert.deepEqual(await plant.jobs(), [])
    })

    test('finishes the queued work before it stops, when told to drain', async () => {
      await using plant = clusterPlant({
        slurm: { kind: 'slurm', count: 2, partition: 'low' },
        htcondor: { kind: 'htcondor', count: 2 },
      })
      const factory = await plant.start()
      const rows = plant.run('drained', words(600, 50))
      await eventually('all work', async () => (await memoryHolders(plant)).length === 4, 90)
      const exit = once(factory, 'exit')
      await plant.client.stop({ drain: true })
      assertAllDone(await rows, 600)
      assert.deepEqual(await exit, [0, null])
      assert.deepEqual(await plant.jobs(), [])
    })

    test('has pilots leave by themselves when there has been nothing to do for a while', async () => {
      await using plant = clusterPlant(
        { slurm: { kind: 'slurm', count: 2, partition: 'low' }, htcondor: { kind: 'htcondor', count: 2 } },
        { manager: { idle: '3s' } },
      )
      await plant.start()
      assertAllDone(await plant.run('short', words(200, 20)), 200)
      await eventually('no pilot is left', async () => (await plant.jobs()).length === 0, 60)
    })

    test('avoids a node that fails what other nodes manage', async () => {
      await using plant = clusterPlant({
        slurm: { kind: 'slurm', count: 3, max: 4, cpus: 4, partition: 'low' },
      })
      await plant.start()
      const poisoned = words(2500, 20).map(({ key, input }) => ({
        key,
        input: { ...(input as object), poison: 'n1' },
      }))
      const rows = plant.run('poisoned', poisoned, { retries: 100 })
      rows.catch(() => {})
      await eventually(
        'a pilot is on the bad node',
        async () => (await plant.jobs()).some(({ node }) => node === 'n1'),
        60,
      )
      await eventually(
        'a pilot has taken its place',
        async () => {
          const nodes = (await plant.status()).workers.map(({ node }) => node)
          return nodes.length === 3 && !nodes.includes('n1')
        },
        90,
      )
      assertAllDone(await rows, 2500)
      assert.ok((await plant.jobs()).every(({ node }) => node !== 'n1'))
    })
  })
})
