import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { accuse, createNeighbourhood, holds, leaves, neighboursFor } from '../../src/core/neighbourhood.ts'

const nobody = new Set<string>()

/** Workers a, b, c … that all hold the bundle x. */
function neighbourhoodOf(count: number) {
  const known = createNeighbourhood()
  const names = Array.from({ length: count }, (_, i) => `w${i}`)
  for (const name of names) holds(known, name, 'x')
  return { known, names }
}

/** The same chances for the same seed. */
function chanceOf(seed: number): () => number {
  let state = seed
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647
}

describe('neighbours of a worker', () => {
  test('are those that hold the bundle, but for itself and those that failed it', () => {
    const { known } = neighbourhoodOf(3)
    holds(known, 'w9', 'y')
    const named = neighboursFor(known, 'w0', 'x', new Set(['w2']), Math.random)
    assert.deepEqual(named, ['w1'])
    assert.deepEqual(neighboursFor(known, 'w0', 'z', nobody, Math.random), [])
  })

  test('are not those that two others caught with wrong bytes; one alone may lie', () => {
    const { known } = neighbourhoodOf(4)
    const ask = () => neighboursFor(known, 'w3', 'x', nobody, Math.random).sort()
    accuse(known, 'w0', 'w1')
    accuse(known, 'w0', 'w1')
    assert.deepEqual(ask(), ['w0', 'w1', 'w2'])
    accuse(known, 'w0', 'w2')
    assert.deepEqual(ask(), ['w1', 'w2'])
  })

  test('do not include who is gone', () => {
    const { known } = neighbourhoodOf(3)
    leaves(known, 'w1')
    assert.deepEqual(neighboursFor(known, 'w0', 'x', nobody, Math.random), ['w2'])
    for (const worker of ['w0', 'w2']) leaves(known, worker)
    assert.equal(known.holders.size, 0)
  })

  test('property: at most 16, none twice, none that does not hold it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 1, max: 1e9 }), (count, seed) => {
        const { known, names } = neighbourhoodOf(count)
        const named = neighboursFor(known, 'asker', 'x', nobody, chanceOf(seed))
        assert.equal(named.length, Math.min(16, count))
        assert.equal(new Set(named).size, named.length)
        assert.ok(named.every((name) => names.includes(name)))
      }),
    )
  })

  test('are named equally often', () => {
    const { known, names } = neighbourhoodOf(32)
    const seen = new Map<string, number>(names.map((name) => [name, 0]))
    const random = chanceOf(1)
    for (let i = 0; i < 1_000; i++) {
      for (const name of neighboursFor(known, 'asker', 'x', nobody, random))
        seen.set(name, seen.get(name)! + 1)
    }
    for (const [name, times] of seen)
      assert.ok(times > 400 && times < 600, `${name} was named ${times} times`)
  })
})
