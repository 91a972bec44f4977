import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { InferenceSession, Tensor } from 'onnxruntime-node'
import {
  createPasses,
  type Pass,
  tryPasses,
} from '../../../../../src/library/kinds/causal-lm/graph/forward-pass.ts'
import type { Graph } from '../../../../../src/library/kinds/causal-lm/graph/graph.ts'
import type { StateStore } from '../../../../../src/library/kinds/causal-lm/graph/kv-cache.ts'
import { makeTensor } from '../../../../../src/library/kinds/causal-lm/graph/tensors.ts'

const graph: Graph = {
  integers: new Map([['input_ids', 'int64']]),
  ...{ hasMask: false, hasPositions: false, hasBranches: false, keepLogits: undefined },
  ...{ state: [], logitsType: 'float32', vocabSize: 4 },
}
const state = { rows: 1, columns: 0, capacity: 0, tensors: [] }
const pass: Pass = { rows: 1, width: 1, tokens: [0], positions: [0], mask: [1], state, scored: 1 }

test('a pass on a device begins without the scores of the one before', async () => {
  let lying = 0
  const lyingAtStart: number[] = []
  let fails = false
  const session = {
    run() {
      lyingAtStart.push(lying)
      if (fails) return Promise.reject(new Error('no memory'))
      lying += 1
      let isThere = true
      const dispose = () => {
        assert.ok(isThere, 'it is let go of once')
        isThere = false
        lying -= 1
      }
      return Promise.resolve({ logits: { dims: [1, 1, 4], location: 'gpu-buffer', dispose } })
    },
  }
  const store = {
    room: () => undefined,
    advance: () => state,
    discard: () => undefined,
    release: () => undefined,
  }
  const scores = {
    best: () => Promise.resolve(Float32Array.of(3)),
    bring: () => Promise.resolve<Tensor>(makeTensor('float32', Float32Array.of(0, 1, 2, 3), [1, 1, 4])),
    close: () => Promise.resolve(),
  }
  const passes = createPasses(session as unknown as InferenceSession, graph, store as unknown as StateStore, {
    onDevice: true,
    scores,
  })
  await passes.forward(pass)
  const seen = await passes.forward(pass)
  await seen.scores.bring?.()
  assert.equal(lying, 0, 'scores that are here need not be there')
  await passes.score(pass)
  fails = true
  await assert.rejects(passes.forward(pass))
  fails = false
  await passes.forward(pass)
  assert.deepEqual(lyingAtStart, [0, 0, 0, 0, 0])
})

test('a device that cannot bring scores is of no use, though it can tell the likeliest token', async () => {
  const released: unknown[] = []
  const store = { blank: () => state, release: (one: unknown) => released.push(one) } as unknown as StateStore
  const at = () => assert.fail('nothing is looked at')
  const bring = () => Promise.reject(new Error('no such operator'))
  const passes = { forward: () => Promise.resolve({ scores: { at, bring }, state }) }
  await assert.rejects(tryPasses(store, passes), /no such operator/)
  assert.deepEqual(released, [state])
})
