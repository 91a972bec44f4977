import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  accuse,
  createNeighbourhood,
  endsFetch,
  holds,
  leaves,
  neighboursFor,
} from '../../src/core/neighbourhood.ts'

import { NEIGHBOURS } from '../../src/protocol/sources.ts'

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
    assert.equal(known.bundles.size, 0)
  })

  test('stay the same while they are of use; others come in place of those that are not', () => {
    const { known } = neighbourhoodOf(30)
    const ask = (...without: string[]) => neighboursFor(known, 'w0', 'x', new Set(without), Math.random)
    const first = ask()
    assert.deepEqual(ask(), first)
    const [failed, gone, ...kept] = first
    leaves(known, gone!)
    const second = ask(failed!)
    assert.deepEqual(second.slice(0, kept.length), kept)
    assert.equal(second.length, NEIGHBOURS)
    assert.ok(!second.includes(failed!) && !second.includes(gone!))
    assert.deepEqual(ask(), second, 'who failed once is not named again')
    endsFetch(known, 'w0', 'x')
    const all = new Set(Array.from({ length: 100 }, () => (endsFetch(known, 'w0', 'x'), ask())).flat())
    assert.ok(all.has(failed!), 'but for the next fetch')
  })

  test('are counted right when one leaves and comes back', () => {
    const { known } = neighbourhoodOf(2)
    neighboursFor(known, 'w1', 'x', nobody, Math.random)
    leaves(known, 'w0')
    holds(known, 'w0', 'x')
    neighboursFor(known, 'asker', 'x', nobody, Math.random)
    endsFetch(known, 'w1', 'x')
    assert.equal(known.bundles.get('x')!.holders.get('w0'), 1)
  })

  const crowd = fc.record({ count: fc.integer({ min: 0, max: 60 }), seed: fc.integer({ min: 1, max: 1e9 }) })

  test('property: as many as are of use, none twice, none that does not hold it, not itself', () => {
    fc.assert(
      fc.property(crowd, ({ count, seed }) => {
        const { known, names } = neighbourhoodOf(count)
        for (const asker of ['asker', ...names]) {
          const others = names.filter((name) => name !== asker)
          const named = neighboursFor(known, asker, 'x', nobody, chanceOf(seed))
          assert.equal(named.length, Math.min(NEIGHBOURS, others.length))
          assert.equal(new Set(named).size, named.length)
          assert.ok(named.every((name) => others.includes(name)))
        }
      }),
    )
  })

  test('property: all are named equally often, to whoever fetches at the time', () => {
    fc.assert(
      fc.property(crowd, fc.integer({ min: 0, max: 60 }), ({ count, seed }, ended) => {
        const { known, names } = neighbourhoodOf(count + 10)
        const random = chanceOf(seed)
        const times = new Map<string, number>(names.map((name) => [name, 0]))
        for (const asker of names) {
          neighboursFor(known, asker, 'x', nobody, random)
          if (names.indexOf(asker) < ended) endsFetch(known, asker, 'x')
        }
        for (const asker of names.slice(ended))
          for (const name of neighboursFor(known, asker, 'x', nobody, random))
            times.set(name, times.get(name)! + 1)
        const counts = [...times.values()]
        assert.ok(Math.max(...counts) - Math.min(...counts) <= 2, counts.join(' '))
      }),
    )
  })

  test('one that fails everybody is named no more often than others', () => {
    const { known, names } = neighbourhoodOf(33)
    let times = 0
    for (const asker of names.slice(1)) {
      if (!neighboursFor(known, asker, 'x', nobody, Math.random).includes('w0')) continue
      times++
      neighboursFor(known, asker, 'x', new Set(['w0']), Math.random)
    }
    assert.ok(times <= NEIGHBOURS + 1, `it was named ${times} times`)
  })
})
