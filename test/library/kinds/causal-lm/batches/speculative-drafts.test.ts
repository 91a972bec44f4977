import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { createDrafter } from '../../../../../src/library/kinds/causal-lm/batches/speculative-drafts.ts'
import { draftWidth } from '../../../../../src/library/kinds/causal-lm/batches/batch-sizes.ts'

describe('a draft', () => {
  test('goes on as most earlier answers did that began alike', () => {
    const drafter = createDrafter()
    for (let i = 0; i < 9; i++) drafter.learn([1, 2, 3])
    drafter.learn([1, 7])
    const { tokens, chances } = drafter.draft([], [1], 10)
    assert.deepEqual(tokens, [2, 3])
    assert.ok((chances[0] as number) > 0.8 && (chances[1] as number) < (chances[0] as number))
    assert.deepEqual(drafter.draft([], [1, 7], 10).tokens, [], 'that answer ended there')
    assert.deepEqual(drafter.draft([], [5], 10).tokens, [], 'no answer began so')
  })

  test('is short where earlier answers differ', () => {
    const drafter = createDrafter()
    for (let i = 0; i < 30; i++) drafter.learn([1, 2, i])
    assert.deepEqual(drafter.draft([], [1], 10).tokens, [2])
  })

  test('copies what came after the same words before, the last time they stood there', () => {
    const drafter = createDrafter()
    assert.deepEqual(drafter.draft([1, 2, 3, 4, 1, 2, 3, 5, 6], [1, 2, 3], 2).tokens, [5, 6])
    assert.deepEqual(drafter.draft([8, 1, 2], [3, 9, 1, 2, 3], 9).tokens, [9, 1, 2, 3])
    assert.deepEqual(drafter.draft([1, 2, 9], [1, 2], 9).tokens, [], 'two words are too few')
  })

  test('that is copied is trusted as far as copies were right', () => {
    const drafter = createDrafter()
    const draft = () => drafter.draft([1, 2, 3, 4], [1, 2, 3], 1)
    for (let i = 0; i < 100; i++) drafter.note(draft(), 4)
    assert.ok((draft().chances[0] as number) > 0.9)
    for (let i = 0; i < 200; i++) drafter.note(draft(), 5)
    assert.ok((draft().chances[0] as number) < 0.1)
  })

  test('has no more tokens than are asked for, and a chance for each that never grows', () => {
    const tokens = fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 30 })
    fc.assert(
      fc.property(
        fc.array(tokens, { maxLength: 20 }),
        tokens,
        tokens,
        fc.integer({ min: 0, max: 9 }),
        (learnt, prompt, answer, most) => {
          const drafter = createDrafter()
          for (const one of learnt) drafter.learn(one)
          const { tokens, chances } = drafter.draft(prompt, answer, most)
          assert.ok(tokens.length <= most)
          assert.equal(chances.length, tokens.length)
          chances.forEach((chance, i) => assert.ok(chance > 0 && chance <= (chances[i - 1] ?? 1)))
        },
      ),
    )
  })
})

describe('the width of a pass', () => {
  test('is one token without drafts that are likely enough', () => {
    assert.equal(draftWidth([[], []], 8), 1)
    assert.equal(draftWidth(Array<number[]>(64).fill([0.1]), 8), 1)
  })

  test('is that of drafts that are right, the longer the fewer rows there are', () => {
    const sure = Array<number>(7).fill(0.95)
    assert.equal(draftWidth([sure], 8), 8)
    assert.equal(draftWidth([sure], 3), 3)
    const mixed = (rows: number) => Array.from({ length: rows }, (_, i) => (i % 8 === 0 ? sure : [0.95]))
    assert.equal(draftWidth(mixed(64), 8), 2)
  })
})
