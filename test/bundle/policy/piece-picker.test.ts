import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { bitmap, has } from '../../../src/bundle/format/bitmap.ts'
import {
  chooseRequests,
  defaultTuning,
  newSwarm,
  pieceArrives,
  requestBegins,
  requestEnds,
  sourceHas,
  sourceJoins,
  sourceLeaves,
  sourceRests,
  sourceWithholds,
} from '../../../src/bundle/policy/piece-picker.ts'
import { simulate, type SimOptions } from '../support/swarm-simulation.ts'

/** 64 MB in pieces of 128 KiB over links of 100 Mbit/s. */
const PIECES = 489
const PIECE = 128 * 1024
const RATE = 12_500
const BYTES = PIECES * PIECE
/** No worker can have it all sooner: the time that one link takes, milliseconds. */
const BOUND_MS = BYTES / RATE

function superSeeding(workers: number, seed: number, more: Partial<SimOptions> = {}) {
  return simulate({
    workers,
    pieces: PIECES,
    pieceSize: PIECE,
    rate: RATE,
    latencyMs: 0.5,
    seed,
    ...more,
  })
}

describe('what the picker makes of a cluster of cold workers', () => {
  for (const seed of [1, 2, 3]) {
    test(`16 have it within 1.08 times what one link takes, and the source sends it once (${seed})`, () => {
      const { allMs, managerBytes } = superSeeding(16, seed)
      assert.ok(allMs <= 1.08 * BOUND_MS, `${allMs / BOUND_MS} times`)
      assert.ok(managerBytes <= 1.05 * BYTES, `${managerBytes / BYTES} times`)
    })
  }

  test('32 have a small file within 1.15 times, on a slow link as well', () => {
    const small = { pieceSize: 16 * 1024, rate: 250 }
    const bound = (PIECES * small.pieceSize) / small.rate
    const { allMs, managerBytes } = superSeeding(32, 1, small)
    assert.ok(allMs <= 1.15 * bound, `${allMs / bound} times`)
    assert.ok(managerBytes <= 1.1 * PIECES * small.pieceSize)
  })

  test('the excess over the bound grows with the logarithm of their number', () => {
    const [four, sixteen] = [4, 16].map((workers) => superSeeding(workers, 1).allMs / BOUND_MS - 1)
    // A piece passes through log(n) hands, and as many more at the end as it takes to find who lacks it.
    assert.ok(sixteen! <= 4 * four!, `${four}, ${sixteen}`)
  })

  test('one that joins while others fetch, or when all are done, has it as fast as they', () => {
    const { doneMs } = superSeeding(8, 4, { startAt: (worker) => (worker * BOUND_MS) / 4 })
    doneMs.forEach((done, worker) => {
      const took = done - (worker * BOUND_MS) / 4
      assert.ok(took <= 1.2 * BOUND_MS, `worker ${worker} took ${took / BOUND_MS} times`)
    })
  })
})

describe('what the picker asks of a relay, which gets each piece before any peer does', () => {
  const ASK_AT = 1_000
  const behindRelay = () => {
    const swarm = newSwarm(bitmap(8), 8, () => PIECE)
    sourceJoins(swarm, 'relay', 'relay')
    sourceJoins(swarm, 'peer', 'peer')
    return swarm
  }
  const choose = (swarm: ReturnType<typeof behindRelay>, now = ASK_AT) => chooseRequests(swarm, now, () => 0)

  test('nothing, before it has told what it holds', () => {
    assert.equal(choose(behindRelay()), undefined)
  })

  test('any piece of those that it holds and no peer does, as a manager is asked', () => {
    const swarm = behindRelay()
    for (const piece of [2, 3, 5]) sourceHas(swarm, 'relay', piece)
    sourceHas(swarm, 'peer', 3)
    pieceArrives(swarm, 5)
    const ofPeer = choose(swarm)
    assert.deepEqual(ofPeer, { kind: 'run', source: 'peer', first: 3, count: 1 })
    requestBegins(swarm, ofPeer, ASK_AT)
    const ask = choose(swarm)
    assert.ok(ask?.kind === 'any' && ask.source === 'relay')
    const wanted = [...Array(8).keys()].filter((piece) => has(ask.want, piece))
    assert.deepEqual(wanted, [2])
  })

  test('a certain piece only once peers have had nothing for a while', () => {
    const swarm = behindRelay()
    sourceHas(swarm, 'relay', 4)
    sourceHas(swarm, 'peer', 4)
    sourceRests(swarm, 'peer', Infinity)
    assert.equal(choose(swarm), undefined)
    const then = ASK_AT + defaultTuning.patienceMs
    assert.equal(choose(swarm, then - 1), undefined)
    assert.deepEqual(choose(swarm, then), { kind: 'run', source: 'relay', first: 4, count: 1 })
  })

  test('no certain piece at once because it waited while the relay had none', () => {
    const swarm = behindRelay()
    assert.equal(choose(swarm), undefined)
    const late = ASK_AT + 10 * defaultTuning.patienceMs
    sourceHas(swarm, 'relay', 4)
    const ask = choose(swarm, late)
    assert.ok(ask?.kind === 'any')
    requestEnds(swarm, requestBegins(swarm, ask, late))
    sourceWithholds(swarm, 'relay', late + 1_000)
    assert.equal(choose(swarm, late + 2), undefined, 'a peer has been given it')
    const ofRelay = choose(swarm, late + defaultTuning.patienceMs)
    assert.deepEqual(ofRelay, { kind: 'run', source: 'relay', first: 4, count: 1 })
  })

  test('again what it was the only peer to have that has left', () => {
    const swarm = newSwarm(bitmap(10), 10, () => 1, defaultTuning)
    for (const [name, kind] of [['relay', 'relay'], ['one', 'peer'], ['other', 'peer']] as const) sourceJoins(swarm, name, kind) // prettier-ignore
    sourceHas(swarm, 'relay', 4)
    sourceHas(swarm, 'relay', 9)
    for (const peer of ['one', 'other']) {
      sourceHas(swarm, peer, 4)
      sourceRests(swarm, peer, Infinity)
    }
    const wanted = () => {
      const ask = chooseRequests(swarm, 0, () => 0)
      assert.ok(ask?.kind === 'any')
      return [4, 9].filter((piece) => has(ask.want, piece))
    }
    assert.deepEqual(wanted(), [9])
    sourceLeaves(swarm, 'one')
    assert.deepEqual(wanted(), [9])
    sourceLeaves(swarm, 'other')
    assert.deepEqual(wanted(), [4, 9])
  })

  test('nothing that another seeder alone has: that one is asked', () => {
    const swarm = behindRelay()
    sourceJoins(swarm, 'manager', 'manager')
    const ask = choose(swarm)
    assert.ok(ask?.kind === 'any' && ask.source === 'manager')
  })
})
