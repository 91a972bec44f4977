import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { generateClaims } from '../../scripts/generate-claims.ts'
import type { ResultRow } from '../../src/client/index.ts'
import { storm } from './support/evictions.ts'
import { type Plant, alone, clusterPlant } from './support/cluster-factory.ts'
import { testbed } from './support/testbed.ts'

const CLAIMS = 10_000
const EVICTIONS = 36
/** Of what is left, this part is handed in for each round of evictions: some are always left for the next. */
const PORTION = 1 / 50

test('10,000 claims are verified by pilots on both systems through evictions of every kind: exactly 10,000 results', async (t) => {
  const slurm = { kind: 'slurm', ...alone }
  await using plant = clusterPlant(
    {
      low: { ...slurm, count: 3, partition: 'low' },
      abrupt: { ...slurm, count: 1, partition: 'abrupt' },
      requeue: { ...slurm, count: 1, partition: 'requeue' },
      short: { ...slurm, count: 1, partition: 'low', walltime: '1m' },
      htcondor: { kind: 'htcondor', count: 3, removeHeldAfter: '1s' },
    },
    { contexts: [join(testbed.project, 'templates/fact-verification')] },
  )
  await plant.start()
  const claims = [...generateClaims({ split: 'held-out', count: CLAIMS })]
  const tasks = claims.map((claim) => ({ key: claim.id, input: { ...claim } }))

  const began = performance.now()
  const job = await plant.client.createJob({ name: 'claims', context: 'fact-verification' })
  const reading = plant.results(job)
  let given = 0
  const give = async (count: number) => {
    await job.add(tasks.slice(given, given + count))
    given += count
  }
  const feed = () => give(Math.ceil((CLAIMS - given) * PORTION))
  const { tally, siteOf } = await storm(plant, feed, (tally) => {
    const counts = [...tally.values(), walltimes(plant)]
    return counts.every((count) => count > 0) && sum(counts) >= EVICTIONS
  })
  await give(CLAIMS)
  await job.close()
  const rows = await reading
  const seconds = Math.round((performance.now() - began) / 1000)
  const { tasks: counts, requeued } = await plant.status()

  tally.set('walltime', walltimes(plant))
  const labels = new Map(claims.map(({ id, label }) => [id, label]))
  const isRight = ({ key, value }: ResultRow) => (value as { label?: string }).label === labels.get(key)
  const accuracy = rows.filter(isRight).length / CLAIMS
  const bySite = Map.groupBy(rows, ({ worker }) => siteOf.get(worker ?? '') ?? 'a worker that came and went')
  const figures = {
    results: rows.length,
    seconds,
    evictions: sum(tally.values()),
    requeued,
    accuracy,
    by: Object.fromEntries(tally),
    at: Object.fromEntries([...bySite].map(([site, { length }]) => [site, length])),
  }
  t.diagnostic(JSON.stringify(figures))

  assert.equal(rows.length, CLAIMS)
  assert.deepEqual(new Set(rows.map(({ key }) => key)), new Set(claims.map(({ id }) => id)))
  const statuses = new Set(rows.map(({ status }) => status))
  assert.deepEqual(statuses, new Set(['done']), 'no task was charged with anything')
  assert.deepEqual(counts, { queued: 0, leased: 0, done: CLAIMS, failed: 0 })
  assert.ok(accuracy >= 0.9, `accuracy ${accuracy}`)
  for (const site of ['low', 'htcondor']) assert.ok(bySite.has(site), `${site} did some`)
})

const sum = (counts: Iterable<number>) => [...counts].reduce((total, count) => total + count, 0)

/** Pilots that left because their walltime was over. */
function walltimes(plant: Plant): number {
  const logs = globSync(join(plant.folder, 'state/submissions/short/*/logs/*.log'))
  return logs.filter((file) => readFileSync(file, 'utf8').includes('walltime')).length
}
