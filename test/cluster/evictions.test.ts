import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { ResultRow } from '../../src/client/index.ts'
import { eventually } from '../factory/support/eventually.ts'
import { evictions } from './support/evictions.ts'
import { type Plant, clusterPlant, words } from './support/plant.ts'

/** Enough for every pilot to have some in hand and in the queue. */
const TASKS = 800
const TASK_MS = 40

const slurm = (partition: string) => ({ kind: 'slurm', count: 1, partition })

let plant: Plant
before(async () => {
  plant = clusterPlant({
    // Two, so that one works while the other waits to be started again.
    low: { ...slurm('low'), count: 2 },
    abrupt: slurm('abrupt'),
    requeue: slurm('requeue'),
    htcondor: { kind: 'htcondor', count: 3, removeHeldAfter: '1s' },
  })
  await plant.start()
})
after(() => plant[Symbol.asyncDispose]())

/** Every task has one result, and none was charged with anything. */
function assertAllDone(rows: ResultRow[], count: number) {
  assert.equal(new Set(rows.map(({ key }) => key)).size, count)
  assert.equal(rows.length, count)
  assert.deepEqual(new Set(rows.map(({ status }) => status)), new Set(['done']))
}

describe('an eviction loses no task, doubles none and is charged to none:', { concurrency: false }, () => {
  for (const { name, where, evict } of evictions)
    test(name, async () => {
      const before = await plant.status()
      const rows = plant.run(name, words(TASKS, TASK_MS))
      rows.catch(() => {})
      const worker = await eventually(
        `a pilot of ${where} works`,
        async () =>
          (await plant.status()).workers.find(
            ({ site, leased, state }) => site === where && leased > 0 && state === 'active',
          ),
        120,
      )
      const job = (await plant.jobs()).find(({ pilot }) => pilot === worker.pilot)
      assert.ok(job, `${worker.pilot} is in a queue`)
      evict(job, plant)

      assertAllDone(await rows, TASKS)
      const gone = () => plant.status().then(({ workers }) => workers.every(({ id }) => id !== worker.id))
      await eventually(`worker ${worker.id} is gone`, gone, 60)
      const { tasks, evictions } = await plant.status()
      assert.equal(tasks.failed, 0)
      assert.ok(evictions > before.evictions, 'it is counted as an eviction')
    })
})
