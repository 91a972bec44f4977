import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  cacheBudget,
  type PassLimits,
  planBatches,
  planStarts,
  tokenBudget,
} from '../../../../../src/library/kinds/causal-lm/batches/batch-sizes.ts'

const lengths = fc.array(fc.integer({ min: 1, max: 600 }), { maxLength: 200 })
const limits: fc.Arbitrary<PassLimits> = fc.record({
  rows: fc.integer({ min: 1, max: 40 }),
  tokens: fc.integer({ min: 1, max: 3000 }),
  cached: fc.integer({ min: 1, max: 5000 }),
  padding: fc.boolean(),
})

const roomy: PassLimits = { rows: 64, tokens: 1000, cached: 10_000, padding: true }

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
      [0, 5, 2],
      [3, 4, 1],
    ])
  })

  test('has no batch where there is nothing to do', () => {
    assert.deepEqual(planBatches([], roomy, 0), [])
  })
})

describe('the starts of sequences', () => {
  const long = (token: number, length: number) => Array<number>(length).fill(token)

  test('are what some share, at several levels, where that saves a pass', () => {
    const system = long(1, 100)
    const document = (token: number) => [...system, ...long(token, 80)]
    const questions = [2, 2, 3, 3, 3].map((token, i) => [...document(token), 10 + i, 5])
    assert.deepEqual(planStarts([...questions, [...system, 4], [7, 8, 9]]), [
      [100, 180],
      [100, 180],
      [100, 180],
      [100, 180],
      [100, 180],
      [100],
      [],
    ])
    assert.deepEqual(planStarts([long(1, 30), long(1, 31)]), [[], []], 'too short to be worth it')
    assert.deepEqual(
      planStarts([long(1, 90), long(1, 90)]),
      [[], []],
      'the whole of a sequence is no start of it',
    )
    assert.deepEqual(planStarts([]), [])
  })

  test('leave each sequence a token of its own, and are shared with another', () => {
    const sequences = fc.array(
      fc
        .array(fc.integer({ min: 0, max: 1 }), { minLength: 1, maxLength: 8 })
        .map((own) => own.flatMap((token) => long(token, 40))),
      { minLength: 1, maxLength: 12 },
    )
    fc.assert(
      fc.property(sequences, (all) => {
        const starts = planStarts(all)
        all.forEach((own, i) => {
          for (const length of starts[i]!) {
            assert.ok(length < own.length)
            const same = (other: number[]) => own.slice(0, length).every((token, at) => token === other[at])
            assert.ok(all.some((other, j) => j !== i && same(other) && starts[j]!.includes(length)))
          }
          assert.deepEqual(
            starts[i],
            starts[i]!.toSorted((a, b) => a - b),
          )
        })
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

describe('the tokens of a pass', () => {
  test('are as many as share the weights well, unless their scores would take too much memory', () => {
    const budget = (scores: number, weights = 1e9) => tokenBudget('memory', weights, { scores, free: 8e9 })
    assert.equal(budget(0), 4096)
    assert.equal(budget(0, 1e6), 1024)
    assert.equal(budget(4 * 151_936), 822)
    assert.ok(budget(4 * 151_936) * 4 * 151_936 <= 8e9 / 16)
    assert.equal(tokenBudget('memory', 1e9, { scores: 4 * 262_144, free: 1e6 }), 32, 'a pass has some')
  })
})
