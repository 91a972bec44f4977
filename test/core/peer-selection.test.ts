import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  noteAccusation,
  createPeerTable,
  noteFetchEnd,
  noteHolder,
  noteGone,
  peersFor,
} from '../../src/core/peer-selection.ts'

import { PEERS } from '../../src/protocol/piece-sources.ts'

const nobody = new Set<string>()

/** Workers a, b, c … that all hold the bundle x. */
function peerTableOf(count: number) {
  const known = createPeerTable()
  const names = Array.from({ length: count }, (_, i) => `w${i}`)
  for (const name of names) noteHolder(known, name, 'x')
  return { known, names }
}

/** The same chances for the same seed. */
function chanceOf(seed: number): () => number {
  let state = seed
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647
}

describe('peers of a worker', () => {
  test('are those that hold the bundle, but for itself and those that failed it', () => {
    const { known } = peerTableOf(3)
    noteHolder(known, 'w9', 'y')
    const named = peersFor(known, 'w0', 'x', new Set(['w2']), Math.random)
    assert.deepEqual(named, ['w1'])
    assert.deepEqual(peersFor(known, 'w0', 'z', nobody, Math.random), [])
  })

  test('are not those that two others caught with wrong bytes; one alone may lie', () => {
    const { known } = peerTableOf(4)
    const ask = () => peersFor(known, 'w3', 'x', nobody, Math.random).sort()
    noteAccusation(known, 'w0', 'w1')
    noteAccusation(known, 'w0', 'w1')
    assert.deepEqual(ask(), ['w0', 'w1', 'w2'])
    noteAccusation(known, 'w0', 'w2')
    assert.deepEqual(ask(), ['w1', 'w2'])
  })

  test('do not include who is gone', () => {
    const { known } = peerTableOf(3)
    noteGone(known, 'w1')
    assert.deepEqual(peersFor(known, 'w0', 'x', nobody, Math.random), ['w2'])
    for (const worker of ['w0', 'w2']) noteGone(known, worker)
    assert.equal(known.bundles.size, 0)
  })

  test('stay the same while they are of use; others come in place of those that are not', () => {
    const { known } = peerTableOf(30)
    const ask = (...without: string[]) => peersFor(known, 'w0', 'x', new Set(without), Math.random)
    const first = ask()
    assert.deepEqual(ask(), first)
    const [failed, gone, ...kept] = first
    noteGone(known, gone!)
    const second = ask(failed!)
    assert.deepEqual(second.slice(0, kept.length), kept)
    assert.equal(second.length, PEERS)
    assert.ok(!second.includes(failed!) && !second.includes(gone!))
    assert.deepEqual(ask(), second, 'who failed once is not named again')
    noteFetchEnd(known, 'w0', 'x')
    const all = new Set(Array.from({ length: 100 }, () => (noteFetchEnd(known, 'w0', 'x'), ask())).flat())
    assert.ok(all.has(failed!), 'but for the next fetch')
  })

  test('are counted right when one leaves and comes back', () => {
    const { known } = peerTableOf(2)
    peersFor(known, 'w1', 'x', nobody, Math.random)
    noteGone(known, 'w0')
    noteHolder(known, 'w0', 'x')
    peersFor(known, 'asker', 'x', nobody, Math.random)
    noteFetchEnd(known, 'w1', 'x')
    assert.equal(known.bundles.get('x')!.holders.get('w0'), 1)
  })

  const crowd = fc.record({ count: fc.integer({ min: 0, max: 60 }), seed: fc.integer({ min: 1, max: 1e9 }) })

  test('property: as many as are of use, none twice, none that does not hold it, not itself', () => {
    fc.assert(
      fc.property(crowd, ({ count, seed }) => {
        const { known, names } = peerTableOf(count)
        for (const asker of ['asker', ...names]) {
          const others = names.filter((name) => name !== asker)
          const named = peersFor(known, asker, 'x', nobody, chanceOf(seed))
          assert.equal(named.length, Math.min(PEERS, others.length))
          assert.equal(new Set(named).size, named.length)
          assert.ok(named.every((name) => others.includes(name)))
        }
      }),
    )
  })

  test('property: all are named equally often, to those who fetch at the time', () => {
    fc.assert(
      fc.property(crowd, fc.integer({ min: 0, max: 60 }), ({ count, seed }, ended) => {
        const { known, names } = peerTableOf(count + 10)
        const random = chanceOf(seed)
        const times = new Map<string, number>(names.map((name) => [name, 0]))
        for (const asker of names) {
          peersFor(known, asker, 'x', nobody, random)
          if (names.indexOf(asker) < ended) noteFetchEnd(known, asker, 'x')
        }
        for (const asker of names.slice(ended))
          for (const name of peersFor(known, asker, 'x', nobody, random))
            times.set(name, times.get(name)! + 1)
        const counts = [...times.values()]
        assert.ok(Math.max(...counts) - Math.min(...counts) <= 2, counts.join(' '))
      }),
    )
  })

  test('one that fails everybody is named no more often than others', () => {
    const { known, names } = peerTableOf(33)
    let times = 0
    for (const asker of names.slice(1)) {
      if (!peersFor(known, asker, 'x', nobody, Math.random).includes('w0')) continue
      times++
      peersFor(known, asker, 'x', new Set(['w0']), Math.random)
    }
    assert.ok(times <= PEERS + 1, `it was named ${times} times`)
  })
})
