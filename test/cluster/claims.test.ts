import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { generateClaims } from '../../scripts/claims.ts'
import { storm } from './support/evictions.ts'
import { clusterPlant } from './support/plant.ts'
import { testbed } from './support/testbed.ts'

const CLAIMS = 10_000
const EVICTIONS = 30

test('10,000 claims are verified by pilots on both systems through evictions of every kind: exactly 10,000 results', async (t) => {
  const slurm = { kind: 'slurm', partition: 'low' }
  await using plant = clusterPlant(
    {
      low: { ...slurm, count: 3 },
      abrupt: { ...slurm, count: 1, partition: 'abrupt' },
      requeue: { ...slurm, count: 1, partition: 'requeue' },
      short: { ...slurm, count: 1, walltime: '1m' },
      htcondor: { kind: 'htcondor', count: 3, removeHeldAfter: '1s' },
    },
    { contexts: [join(testbed.project, 'templates/fact-verification')] },
  )
  await plant.start()
  const claims = [...generateClaims({ split: 'held-out', count: CLAIMS })]
  const tasks = claims.map((claim) => ({ key: claim.id, input: { ...claim } }))

  const over = new AbortController()
  const began = performance.now()
  const evicting = storm(plant, over.signal)
  const rows = await plant.run('claims', tasks, { context: 'fact-verification' }).finally(() => over.abort())
  const seconds = (performance.now() - began) / 1000
  const tally = await evicting

  assert.equal(rows.length, CLAIMS)
  assert.deepEqual(new Set(rows.map(({ key }) => key)), new Set(claims.map(({ id }) => id)))
  assert.deepEqual(
    new Set(rows.map(({ status }) => status)),
    new Set(['done']),
    'no task was charged with anything',
  )
  const labels = new Map(claims.map(({ id, label }) => [id, label]))
  const right = rows.filter(
    ({ key, value }) => (value as { label?: string }).label === labels.get(key),
  ).length
  assert.ok(right / CLAIMS >= 0.9, `accuracy ${right / CLAIMS}`)

  const evictions = tally.values().reduce((sum, count) => sum + count, 0)
  const status = await plant.status()
  t.diagnostic(
    `${Math.round(seconds)} s, ${evictions} evictions, ${status.requeued} tasks given back, accuracy ${right / CLAIMS}`,
  )
  t.diagnostic([...tally].map(([name, count]) => `${count} x ${name}`).join(', '))
  assert.ok(evictions >= EVICTIONS, `only ${evictions} evictions`)
  assert.ok(
    tally.values().every((count) => count > 0),
    'every kind of eviction',
  )
  assert.equal(status.tasks.failed, 0)
  const sites = new Set(status.workers.map(({ site }) => site))
  assert.ok(sites.has('htcondor') && sites.has('low'))
  const logs = globSync(join(plant.folder, 'state/submissions/short/*/logs/*.log')).map((file) =>
    readFileSync(file, 'utf8'),
  )
  assert.ok(
    logs.some((log) => log.includes('walltime')),
    'a pilot left because its walltime was over',
  )
})
