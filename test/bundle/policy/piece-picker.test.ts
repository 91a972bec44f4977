import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
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
