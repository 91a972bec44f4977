import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { eventually } from '../factory/support/eventually.ts'
import { evictions } from './support/evictions.ts'
import { type Plant, alone, clusterPlant, words } from './support/cluster-factory.ts'

const TASK_MS = 40
/** Added again and again until a pilot of the right kind is at work, and once more as it is evicted. */
const TASKS = 200

const slurm = (partition: string) => ({ kind: 'slurm', count: 1, partition, ...alone })

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

describe('an eviction loses no task, doubles none and is charged to none:', { concurrency: false }, () => {
  for (const { name, where, evict } of evictions)
    test(name, async () => {
      const before = await plant.status()
      const job = await plant.client.createJob({ name, context: 'words' })
      const reading = plant.results(job)
      const all = words(100_000, TASK_MS)
      let given = 0
      const worker = await eventually(
        `a pilot of ${where} works`,
        async () => {
          const { tasks, workers } = await plant.status()
          if (tasks.queued < TASKS) await job.add(all.slice(given, (given += TASKS)))
          return workers.find(({ site, leased, state }) => site === where && leased > 0 && state === 'active')
        },
        120,
      )
      const pilotJob = (await plant.jobs()).find(({ pilot }) => pilot === worker.pilot)
      assert.ok(pilotJob, `${worker.pilot} is in a queue`)
      evict(pilotJob, plant)

      await job.close()
      const rows = await reading
      assert.equal(rows.length, given)
      assert.equal(new Set(rows.map(({ key }) => key)).size, given)
      assert.deepEqual(new Set(rows.map(({ status }) => status)), new Set(['done']))
      const gone = () => plant.status().then(({ workers }) => workers.every(({ id }) => id !== worker.id))
      await eventually(`worker ${worker.id} is gone`, gone, 60)
      const { tasks, evictions, lost } = await plant.status()
      assert.equal(tasks.failed, 0)
      assert.ok(evictions + lost > before.evictions + before.lost, 'it is counted')
    })
})
