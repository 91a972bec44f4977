import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { runPool, Scenario } from '../../scripts/simulation/pool.ts'

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
