import assert from 'node:assert/strict'
import { test } from 'node:test'
import { accelerators, doubtOf } from '../../../../../src/library/kinds/causal-lm/graph/providers.ts'

const gpus = { count: 1, memory: 0, hasOthers: false }

test('a slot with a GPU of its own keeps what a model remembers there, by WebGPU', () => {
  assert.deepEqual(accelerators({ device: 'A10', gpus }, true), ['webgpu', 'cuda'])
  assert.deepEqual(accelerators({ device: 'A10', gpus }, false), ['cuda', 'webgpu'])
  assert.deepEqual(accelerators({ device: 'cpu' }, true), [])
})

test('a slot whose node shows the GPUs of others avoids WebGPU, which may take one of theirs, or says so', () => {
  const slot = { device: 'A10', gpus: { ...gpus, hasOthers: true } }
  assert.deepEqual(accelerators(slot, true), ['cuda', 'webgpu'])
  assert.match(doubtOf('webgpu', slot) ?? '', /first GPU of several .* may not be the slot's \(A10\)/)
  assert.equal(doubtOf('cuda', slot), undefined)
  assert.equal(doubtOf('webgpu', { device: 'A10', gpus }), undefined)
})
