import assert from 'node:assert/strict'
import fc from 'fast-check'
import { describe, test } from 'node:test'
import { blockSize } from '../../../../../src/library/kinds/causal-lm/graph/scores-on-device.ts'
import type { z } from 'zod'
import type { GenerateFunction } from '../../../../../src/protocol/contexts/context.ts'
import { openToy } from '../toy-engine.ts'
import { letters } from '../toy-model.ts'

const settings: z.input<typeof GenerateFunction>[] = [
  { maxNewTokens: 12 },
  { maxNewTokens: 12, stop: ['b'] },
  { maxNewTokens: 12, minNewTokens: 4 },
  { maxNewTokens: 6, logprobs: 2 },
  { maxNewTokens: 12, repetitionPenalty: 1.3 },
  { maxNewTokens: 12, frequencyPenalty: 0.5 },
  { maxNewTokens: 12, temperature: 0.8, seed: 3 },
  { maxNewTokens: 12, choices: ['ab', 'ba', 'x'] },
  { maxNewTokens: 12, choices: ['ab', 'ba', 'x'], temperature: 0.5, seed: 1 },
]
const prompt = fc.string({ unit: fc.constantFrom('a', 'b', ' ', 'X'), minLength: 1, maxLength: 20 })

describe('scores on a device', () => {
  test('give the same answers as scores at hand, whatever the settings', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...settings),
        fc.array(prompt, { minLength: 1, maxLength: 20 }),
        async (options, prompts) => {
          const near = await openToy().runAll(prompts, options)
          assert.deepEqual(await openToy({}, { isFar: true }).runAll(prompts, options), near)
        },
      ),
    )
  })

  test('stay there while the likeliest token is all that is asked for', async () => {
    const prompts = Array.from({ length: 20 }, (_, i) => `ab${letters[i + 2]!}`)
    const { model, runAll } = openToy({}, { isFar: true })
    await runAll(prompts, { maxNewTokens: 12 })
    await runAll(prompts, { maxNewTokens: 12, stop: ['b'] })
    assert.ok(model.passes.length > 0)
    assert.equal(model.brought(), 0)
    await runAll(prompts.slice(0, 1), { maxNewTokens: 1, logprobs: 1 })
    assert.equal(model.brought(), 1)
  })

  test('stay there where the likeliest token leads to a choice, and come where it does not', async () => {
    const score = (sequence: readonly number[]) =>
      Array.from(letters, (_, token) => (token === (sequence.length % 2 === 0 ? 5 : 6) ? 1 : 0))
    const choices = [letters[5]!, letters[7]!]
    const { model, runAll } = openToy({}, { isFar: true, score })
    await runAll(['aa', 'bb'], { choices })
    assert.equal(model.brought(), 0)
    await runAll(['aa', 'b'], { choices })
    assert.equal(model.brought(), 1)
  })

  test('come where a draft goes on to a choice, and the likeliest token does not', async () => {
    const [a, b, c, d, e] = [...'abcde'].map((letter) => letters.indexOf(letter)) as [
      number,
      number,
      number,
      number,
      number,
    ]
    /** Prompts of two letters. What begins with "e" goes astray after the third letter of an answer. */
    const score = (sequence: readonly number[]) => {
      const written = sequence.length - 2
      const best = sequence[0] === e && written === 2 ? e : [a, b, c, d][written]
      return Array.from(letters, (_, token) => (token === best ? 2 : token === c ? 1 : 0))
    }
    const prompts = [...Array.from({ length: 40 }, () => 'dd'), 'ed']
    const choices = ['abcd', 'abce']
    const near = await openToy({}, { score }).answer(prompts, { choices })
    assert.deepEqual(new Set(near.map(({ text }) => text)), new Set(['abcd']))
    const { model, answer } = openToy({}, { isFar: true, score })
    assert.deepEqual(await answer(prompts, { choices }), near)
    assert.ok(model.passes.some(({ width, cached }) => width > 1 && cached > 0))
    assert.equal(model.brought(), 1)
  })
})

describe('the blocks of a vocabulary', () => {
  test('are all of one size, and about as many as they are long where it has such divisors', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300_000 }), (size) => {
        assert.equal(size % blockSize(size), 0)
        assert.ok(blockSize(size) ** 2 >= size)
      }),
    )
    assert.deepEqual([32_000, 49_152, 128_256, 151_936, 262_144].map(blockSize), [200, 256, 384, 1187, 512])
  })
})
