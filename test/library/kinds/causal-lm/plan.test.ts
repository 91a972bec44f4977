import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  type BatchLimits,
  cacheBudget,
  commonPrefix,
  planBatches,
} from '../../../../src/library/kinds/causal-lm/plan.ts'

const lengths = fc.array(fc.integer({ min: 1, max: 600 }), { maxLength: 200 })
const limits: fc.Arbitrary<BatchLimits> = fc.record({
  rows: fc.integer({ min: 1, max: 40 }),
  tokens: fc.integer({ min: 1, max: 3000 }),
  cached: fc.integer({ min: 1, max: 5000 }),
  padding: fc.boolean(),
})

const roomy: BatchLimits = { rows: 64, tokens: 1000, cached: 10_000, padding: true }

describe('a plan of batches', () => {
  test('has every sequence in exactly one batch', () => {
    fc.assert(
      fc.property(lengths, limits, fc.nat(300), (all, limit, extra) => {
        const planned = planBatches(all, limit, extra).flat()
        assert.deepEqual(
          planned.toSorted((a, b) => a - b),
          [...all.keys()],
        )
      }),
    )
  })

  test('keeps to the limits, but for a sequence that exceeds them alone', () => {
    fc.assert(
      fc.property(lengths, limits, fc.nat(300), (all, limit, extra) => {
        for (const batch of planBatches(all, limit, extra)) {
          const widths = batch.map((i) => all[i]!)
          const padded = Math.max(...widths) * batch.length
          assert.ok(batch.length <= limit.rows)
          assert.ok(padded <= limit.tokens || batch.length === 1)
          assert.ok(padded + extra * batch.length <= limit.cached || batch.length === 1)
          if (!limit.padding) assert.equal(new Set(widths).size, 1)
          assert.ok(widths.reduce((sum, width) => sum + width, 0) >= padded / 2, 'more than half is padding')
        }
      }),
    )
  })

  test('does not use more batches than equal sequences need', () => {
    const plan = planBatches(Array<number>(100).fill(10), { ...roomy, rows: 16 }, 0)
    assert.equal(plan.length, Math.ceil(100 / 16))
  })

  test('puts sequences of similar lengths together', () => {
    const plan = planBatches([90, 10, 88, 12, 11, 89], { ...roomy, rows: 3 }, 0)
    assert.deepEqual(plan, [
      [1, 4, 3],
      [2, 5, 0],
    ])
  })

  test('has no batch where there is nothing to do', () => {
    assert.deepEqual(planBatches([], roomy, 0), [])
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

describe('the cache of a batch', () => {
  test('never takes more than the memory there is, while a token is added', () => {
    const tokens = cacheBudget(8e9, 200_000)
    assert.equal(tokens, 10_000)
    const plan = planBatches(Array<number>(64).fill(50), { ...roomy, tokens: 32_768, cached: tokens }, 950)
    assert.equal(Math.max(...plan.map((batch) => batch.length)), 10)
  })
})
