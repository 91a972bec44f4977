import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { runPool, Scenario } from '../../scripts/simulation/run-pool.ts'

test('in any pool whose GPUs differ up to eightfold in speed, the first idle one waits no longer than a lease', () => {
  const pools = fc.record({
    slow: fc.integer({ min: 1, max: 20 }),
    fast: fc.integer({ min: 1, max: 20 }),
    factor: fc.integer({ min: 1, max: 8 }),
    inferences: fc.integer({ min: 5_000, max: 20_000 }),
  })
  fc.assert(
    fc.property(pools, ({ slow, fast, factor, inferences }) => {
      const scenario = Scenario.parse({
        title: 'speeds',
        job: { inferences },
        context: { bytes: 0, load: 0 },
        link: { node: 1e9, source: 1e9 },
        gpus: [
          { kind: 'slow', count: slow, rate: 1 },
          { kind: 'fast', count: fast, rate: factor },
        ],
        pilots: { policy: 'fixed', count: slow + fast, max: slow + fast },
      })
      const { tail } = runPool(scenario)
      assert.ok(tail <= scenario.leaseTarget, `one was idle for the last ${tail} s`)
    }),
    { numRuns: 20 },
  )
})

test('where tasks take times that are not known beforehand, the first idle one waits an eighth of a lease on the average', () => {
  const tails = Array.from({ length: 10 }, (_, i) => {
    const scenario = Scenario.parse({
      title: 'lengths',
      seed: i + 1,
      job: { inferences: 30_000, varied: true },
      context: { bytes: 0, load: 0 },
      link: { node: 1e9, source: 1e9 },
      gpus: [
        { kind: 'slow', count: 1 + 2 * i, rate: 10 },
        { kind: 'fast', count: 20 - i, rate: 80 },
      ],
      pilots: { policy: 'fixed', count: 21 + i, max: 21 + i },
    })
    return runPool(scenario).tail / scenario.leaseTarget
  })
  const mean = tails.reduce((sum, tail) => sum + tail, 0) / tails.length
  assert.ok(mean <= 1 / 8, `${mean} leases`)
})

test('the scenarios that come with the simulation are what it reads', () => {
  const files = globSync(join(import.meta.dirname, '../../scripts/simulation/scenarios/*.json'))
  assert.ok(files.length >= 3)
  for (const file of files) Scenario.parse(JSON.parse(readFileSync(file, 'utf8')))
})
