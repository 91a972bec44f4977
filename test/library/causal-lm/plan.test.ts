import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { type BatchLimits, commonPrefix, planBatches } from '../../../src/library/causal-lm/plan.ts'

const lengths = fc.array(fc.integer({ min: 1, max: 600 }), { maxLength: 200 })
const limits: fc.Arbitrary<BatchLimits> = fc.record({
  rows: fc.integer({ min: 1, max: 40 }),
  tokens: fc.integer({ min: 1, max: 3000 }),
  padding: fc.boolean(),
})

describe('a plan of batches', () => {
  test('has every sequence in exactly one batch', () => {
    fc.assert(
      fc.property(lengths, limits, (all, limit) => {
        const planned = planBatches(all, limit).flat()
        assert.deepEqual(
          planned.toSorted((a, b) => a - b),
          [...all.keys()],
        )
      }),
    )
  })

  test('keeps to the limits, but for a sequence that exceeds them alone', () => {
    fc.assert(
      fc.property(lengths, limits, (all, limit) => {
        for (const batch of planBatches(all, limit)) {
          const widths = batch.map((i) => all[i]!)
          const padded = Math.max(...widths) * batch.length
          assert.ok(batch.length <= limit.rows)
          assert.ok(padded <= limit.tokens || batch.length === 1)
          if (!limit.padding) assert.equal(new Set(widths).size, 1)
          assert.ok(widths.reduce((sum, width) => sum + width, 0) >= padded / 2, 'more than half is padding')
        }
      }),
    )
  })

  test('does not use more batches than equal sequences need', () => {
    const plan = planBatches(Array<number>(100).fill(10), { rows: 16, tokens: 1000, padding: true })
    assert.equal(plan.length, Math.ceil(100 / 16))
  })

  test('puts sequences of similar lengths together', () => {
    const plan = planBatches([90, 10, 88, 12, 11, 89], { rows: 3, tokens: 1000, padding: true })
    assert.deepEqual(plan, [
      [1, 4, 3],
      [2, 5, 0],
    ])
  })

  test('has no batch where there is nothing to do', () => {
    assert.deepEqual(planBatches([], { rows: 4, tokens: 100, padding: true }), [])
  })
})

describe('the common prefix', () => {
  test('is what all sequences share, less than the whole of any', () => {
    assert.equal(
      commonPrefix([
        [1, 2, 3, 4],
        [1, 2, 3, 5, 6],
      ]),
      3,
    )
    assert.equal(
      commonPrefix([
        [1, 2],
        [1, 2, 3],
      ]),
      1,
    )
    assert.equal(
      commonPrefix([
        [1, 2],
        [3, 4],
      ]),
      0,
    )
    assert.equal(commonPrefix([[7]]), 0)
    assert.equal(commonPrefix([]), 0)
  })

  test('is the longest there is', () => {
    const sequences = fc.array(fc.array(fc.integer({ min: 0, max: 1 }), { minLength: 1, maxLength: 6 }), {
      minLength: 1,
    })
    fc.assert(
      fc.property(sequences, (all) => {
        const common = commonPrefix(all)
        const shares = (length: number) =>
          all.every(
            (one) => one.length > length && one.slice(0, length).join() === all[0]!.slice(0, length).join(),
          )
        assert.ok(shares(common))
        assert.ok(!shares(common + 1))
      }),
    )
  })
})
