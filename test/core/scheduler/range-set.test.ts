import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { RangeSet } from '../../../src/core/scheduler/range-set.ts'

const number = fc.integer({ min: 0, max: 60 })
const step = fc.oneof(
  fc.record({ do: fc.constant('add' as const), start: number, length: fc.integer({ min: 0, max: 12 }) }),
  fc.record({ do: fc.constant('delete' as const), n: number }),
  fc.record({ do: fc.constant('take' as const), count: fc.integer({ min: 0, max: 20 }) }),
)

test('a range set behaves as a sorted set of numbers', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const set = new RangeSet()
      const model = new Set<number>()
      for (const s of steps) {
        if (s.do === 'add') {
          const added = Array.from({ length: s.length }, (_, i) => s.start + i)
          if (added.some((n) => model.has(n))) {
            assert.throws(() => set.add(s.start, s.start + s.length), RangeError)
          } else {
            set.add(s.start, s.start + s.length)
            for (const n of added) model.add(n)
          }
        } else if (s.do === 'delete') {
          assert.equal(set.delete(s.n), model.delete(s.n))
        } else {
          const lowest = [...model].sort((a, b) => a - b).slice(0, s.count)
          assert.deepEqual(set.take(s.count), lowest)
          for (const n of lowest) model.delete(n)
        }
        assert.equal(set.size, model.size)
        for (let n = 0; n < 75; n++) assert.equal(set.has(n), model.has(n), `has(${n})`)
      }
    }),
    { numRuns: 300 },
  )
})

test('taking a million numbers piece by piece leaves nothing and returns each once', () => {
  const set = new RangeSet()
  set.add(0, 1_000_000)
  let next = 0
  while (set.size > 0) for (const n of set.take(997)) assert.equal(n, next++)
  assert.equal(next, 1_000_000)
})

test('a range set says how many of its numbers are smaller than one', () => {
  const set = new RangeSet()
  set.add(2, 5)
  set.add(8, 10)
  set.take(1)
  assert.deepEqual(
    [0, 3, 4, 5, 9, 20].map((n) => set.countBelow(n)),
    [0, 0, 1, 2, 3, 4],
  )
})
