import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  argmax,
  largest,
  sample,
  seededRandom,
} from '../../../../../src/library/kinds/causal-lm/answers/sampling.ts'

// Eighths, so that no two scores differ by less than their probabilities can show.
const score = fc.integer({ min: -160, max: 160 }).map((eighths) => eighths / 8)
const scores = fc.array(score, { minLength: 1, maxLength: 200 })
const chance = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true })

/** How often each index is drawn. */
function drawMany(logits: number[], options: Parameters<typeof sample>[1], times = 20_000): number[] {
  const random = seededRandom(1, [2, 3])
  const counts = logits.map(() => 0)
  for (let i = 0; i < times; i++) counts[sample(logits, options, random)]! += 1
  return counts.map((count) => count / times)
}

function assertNear(actual: number[], expected: number[]): void {
  actual.forEach((share, i) =>
    assert.ok(Math.abs(share - expected[i]!) < 0.02, `${actual.join()} is not ${expected.join()}`),
  )
}

describe('argmax', () => {
  test('finds the first of the greatest values', () => {
    assert.equal(argmax([1, 7, 3, 7]), 1)
    assert.equal(argmax(Float32Array.of(-3, -2)), 1)
    fc.assert(
      fc.property(scores, (values) => assert.equal(argmax(values), values.indexOf(Math.max(...values)))),
    )
  })

  test('passes over what is not a number, and finds nothing where nothing is', () => {
    assert.equal(argmax([NaN, 1, NaN]), 1)
    assert.equal(argmax([NaN, NaN]), -1)
    assert.equal(argmax([]), -1)
  })
})

describe('the largest values', () => {
  test('are those that sorting gives', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1 }), fc.nat(20), (values, count) => {
        const sorted = [...values.keys()].sort((a, b) => values[b]! - values[a]! || a - b)
        assert.deepEqual(largest(values, count), sorted.slice(0, count))
      }),
    )
  })
})

describe('sampling', () => {
  test('is greedy at temperature 0', () => {
    fc.assert(
      fc.property(scores, chance, (logits, x) => {
        assert.equal(
          sample(logits, { temperature: 0, topP: 0.5 }, () => x),
          argmax(logits),
        )
      }),
    )
  })

  test('draws tokens as often as their probabilities say', () => {
    const logits = [1, 2, 3].map((weight) => Math.log(weight))
    assertNear(drawMany(logits, { temperature: 1 }), [1 / 6, 2 / 6, 3 / 6])
    assertNear(drawMany(logits, { temperature: 0.5 }), [1 / 14, 4 / 14, 9 / 14])
  })

  test('draws only from the likeliest tokens when told how many', () => {
    const logits = [4, 1, 3, 2].map((weight) => Math.log(weight))
    assertNear(drawMany(logits, { temperature: 1, topK: 2 }), [4 / 7, 0, 3 / 7, 0])
    assertNear(drawMany(logits, { temperature: 1, topK: 99 }), [0.4, 0.1, 0.3, 0.2])
  })

  test('draws only from the fewest tokens that reach a probability together', () => {
    const logits = [4, 1, 3, 2].map((weight) => Math.log(weight))
    assertNear(drawMany(logits, { temperature: 1, topP: 0.4 }), [1, 0, 0, 0])
    assertNear(drawMany(logits, { temperature: 1, topP: 0.5 }), [4 / 7, 0, 3 / 7, 0])
    assertNear(drawMany(logits, { temperature: 1, topK: 3, topP: 0.75 }), [4 / 7, 0, 3 / 7, 0])
  })

  test('draws only from tokens that are not much less likely than the likeliest', () => {
    const logits = [4, 1, 3, 2].map((weight) => Math.log(weight))
    assertNear(drawMany(logits, { temperature: 1, minP: 0.6 }), [4 / 7, 0, 3 / 7, 0])
    assertNear(drawMany(logits, { temperature: 1, topK: 2, minP: 0.8 }), [1, 0, 0, 0])
  })

  test('draws the same where scores differ by rounding, even if near ties change their order', () => {
    const near = fc.array(fc.constantFrom(0, 1e-7, 1, 1 + 1e-7), { minLength: 2, maxLength: 40 })
    fc.assert(
      fc.property(near, fc.integer({ min: 0, max: 99 }), (logits, percent) => {
        const rounded = logits.map((value) => Math.round(value))
        const options = { temperature: 1, topK: 1000 }
        const at = (scores: number[]) => sample(scores, options, () => (percent + 0.5) / 100 + 1e-5)
        assert.equal(at(logits), at(rounded))
      }),
    )
  })

  test('finds the fewest tokens in a large, flat vocabulary too', () => {
    const logits = Array.from({ length: 2000 }, (_, i) => (i === 1234 ? 1 : 0))
    const drawn = new Set<number>()
    const random = seededRandom(5, [])
    for (let i = 0; i < 20_000; i++) drawn.add(sample(logits, { temperature: 1, topP: 0.5 }, random))
    assert.ok(drawn.has(1234))
    assert.ok(drawn.size > 900 && drawn.size <= 1001, `drew from ${drawn.size} tokens`)
  })

  test('never draws a token it may not, whatever the numbers', () => {
    const options = fc.record({
      temperature: fc.double({ min: 0.01, max: 100, noNaN: true }),
      topK: fc.option(fc.integer({ min: 1, max: 250 }), { nil: undefined }),
      topP: fc.option(fc.double({ min: 0.001, max: 1, noNaN: true }), { nil: undefined }),
    })
    fc.assert(
      fc.property(scores, options, chance, (logits, how, x) => {
        const drawn = sample(logits, how, () => x)
        assert.ok(drawn >= 0 && drawn < logits.length)
        if (how.topK !== undefined) assert.ok(largest(logits, how.topK).includes(drawn))
      }),
    )
  })

  test('leaves out tokens without a score', () => {
    const logits = [NaN, 0, -Infinity, 0]
    assertNear(drawMany(logits, { temperature: 1 }), [0, 0.5, 0, 0.5])
  })
})

describe('seeded random numbers', () => {
  test('are the same for the same seed and prompt, and others for another', () => {
    const take = (seed: number, prompt: number[]) => Array.from({ length: 5 }, seededRandom(seed, prompt))
    assert.deepEqual(take(1, [1, 2]), take(1, [1, 2]))
    assert.notDeepEqual(take(1, [1, 2]), take(2, [1, 2]))
    assert.notDeepEqual(take(1, [1, 2]), take(1, [12]))
  })

  test('are spread evenly over [0, 1)', () => {
    const random = seededRandom(3, [4])
    const counts = Array<number>(10).fill(0)
    for (let i = 0; i < 20_000; i++) counts[Math.floor(random() * 10)]! += 1
    assertNear(
      counts.map((count) => count / 20_000),
      Array<number>(10).fill(0.1),
    )
  })
})
