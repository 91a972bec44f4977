import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { accountOf, type PilotHistory, ratioOf } from '../../../scripts/bench/context/pilot-time-account.ts'
import { encodeModel } from '../../../scripts/bench/context/write-onnx.ts'

const event = (at: number, type: string) => ({ at, type })

/** Two tasks, each with a library of its own, and a third that was not needed. */
const rebuilding: PilotHistory = {
  startedAt: 0,
  registeredAt: 500,
  endedAt: 3_000,
  evicted: false,
  events: [
    event(510, 'fetching'),
    event(700, 'loading'),
    event(800, 'loaded'),
    event(1_000, 'unloaded'),
    event(1_000, 'fetching'),
    event(1_210, 'loading'),
    event(1_310, 'loaded'),
    event(1_500, 'unloaded'),
    event(2_000, 'fetching'),
  ],
  results: [
    { at: 1_000, ms: 150 },
    { at: 1_500, ms: 150 },
  ],
}

describe("the account of a pilot's time", () => {
  test('puts every millisecond somewhere', () => {
    assert.deepEqual(accountOf([rebuilding]), {
      boot: 500,
      fetch: 190 + 210 + 1_000,
      load: 200,
      inference: 300,
      lost: 0,
      idle: 600,
    })
  })

  test('counts as lost what an evicted pilot did since its last result', () => {
    const account = accountOf([{ ...rebuilding, evicted: true }])
    assert.equal(account.lost, 1_500)
    assert.equal(account.fetch, 400)
    const young = { startedAt: 0, endedAt: 400, evicted: true, events: [], results: [] }
    assert.deepEqual(accountOf([young]), { boot: 400, fetch: 0, load: 0, inference: 0, lost: 0, idle: 0 })
  })

  test('gives the ratio of what came up whole to the tasks that ran', () => {
    assert.equal(ratioOf([rebuilding]), (200 + 100) / 150)
  })
})

test('a graph that is written by hand computes what it says', async () => {
  const model = encodeModel({
    input: 'tokens',
    output: { name: 'votes', dims: ['length', 1] },
    weights: [
      { name: 'table', dims: [200, 2], data: Float32Array.from({ length: 400 }, (_, i) => i) },
      { name: 'sum', dims: [2, 1], data: Float32Array.of(1, 1) },
    ],
    operators: [
      { type: 'Gather', inputs: ['table', 'tokens'], output: 'rows' },
      { type: 'MatMul', inputs: ['rows', 'sum'], output: 'votes' },
    ],
  })
  const session = await InferenceSession.create(model)
  const { votes } = await session.run({ tokens: new Tensor('int64', BigInt64Array.of(3n, 199n), [2]) })
  assert.deepEqual([...(votes!.data as Float32Array)], [6 + 7, 398 + 399])
})
