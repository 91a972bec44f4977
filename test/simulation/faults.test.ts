import assert from 'node:assert/strict'
import { test } from 'node:test'
import { plants, realCore } from '../../scripts/simulation/planted-bugs.ts'
import { Violation, World } from '../../scripts/simulation/simulated-cluster.ts'

test('under 500 seeds of faults every task gets exactly one result and no limit is broken', () => {
  for (let seed = 1; seed <= 500; seed++) new World(seed, realCore).run()
})

test('a seed replays exactly', () => {
  for (const seed of [3, 17, 92]) assert.deepEqual(new World(seed).run(), new World(seed).run())
})

for (const [name, core] of Object.entries(plants)) {
  test(`the simulation finds a planted bug: ${name}`, () => {
    // The rarest takes three workers that are named the same one, which spoils what it gives.
    const seeds = Array.from({ length: 2_000 }, (_, i) => i + 1)
    const found = seeds.find((seed) => {
      try {
        new World(seed, core).run()
        return false
      } catch (error) {
        return error instanceof Violation
      }
    })
    assert.ok(found !== undefined)
  })
}
