import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { chooseGraph, ORDER } from '../../../../../src/library/kinds/causal-lm/files/choose-graph.ts'
import { findGraph, listGraphs } from '../../../../../src/library/kinds/causal-lm/files/find-graph.ts'

const files = (...graphs: [string, number][]) =>
  graphs.map(([path, bytes]) => ({ path: `onnx/${path}.onnx`, bytes }))

describe('the graph of a model', () => {
  test('is the only one there, whatever its form', () => {
    const choice = chooseGraph(files(['model_q4', 5]), 'model', 'cpu', 1)
    assert.deepEqual(choice, { path: 'onnx/model_q4.onnx', reason: 'the only graph there' })
  })

  test('is in the best form for where it runs, that fits the memory', () => {
    const there = files(['model', 1000], ['model_fp16', 500], ['model_quantized', 260], ['model_q4', 200])
    const choose = (device: 'cpu' | 'device', memory: number) =>
      chooseGraph(there, 'model', device, memory)?.path
    assert.equal(choose('cpu', 10_000), 'onnx/model.onnx')
    assert.equal(choose('cpu', 1000), 'onnx/model_quantized.onnx')
    assert.equal(choose('cpu', 250), 'onnx/model_q4.onnx')
    assert.equal(choose('cpu', 10), 'onnx/model_q4.onnx', 'the smallest where none fits')
    assert.equal(choose('device', Infinity), 'onnx/model_fp16.onnx')
  })

  test('is none of those that are parts of another model', () => {
    const there = files(
      ['decoder_model', 5],
      ['encoder_model', 5],
      ['decoder_model_merged', 5],
      ['modeling', 5],
    )
    assert.equal(chooseGraph(there, 'model', 'cpu', 100), undefined)
    assert.equal(chooseGraph(there, 'decoder_model', 'cpu', 100)?.path, 'onnx/decoder_model.onnx')
  })

  test('is the first in the documented order if all fit', () => {
    fc.assert(
      fc.property(
        fc.shuffledSubarray([...ORDER.cpu], { minLength: 1 }),
        fc.constantFrom('cpu', 'device'),
        (forms, device) => {
          const there = forms.map((form) => ({ path: `onnx/model${form}.onnx`, bytes: 1 }))
          const first = ORDER[device].find((form) => forms.includes(form))!
          assert.equal(chooseGraph(there, 'model', device, 100)?.path, `onnx/model${first}.onnx`)
        },
      ),
    )
  })

  test('is found beside config.json too, and counts its external data whatever it is called', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'graphs-'))
    try {
      await mkdir(join(folder, 'onnx'))
      const sizes = {
        'model.onnx': 1,
        'model.onnx.data': 20,
        'onnx/model_q4.onnx': 2,
        'onnx/model_q4.onnx_data': 30,
        'onnx/model_q4.onnx_data_1': 400,
        'onnx/model_q4f16.onnx': 3,
        'onnx/other.bin': 9,
      }
      for (const [name, size] of Object.entries(sizes))
        await writeFile(join(folder, name), Buffer.alloc(size))
      const found = await listGraphs(folder)
      assert.deepEqual(found, [
        { path: 'onnx/model_q4.onnx', bytes: 432 },
        { path: 'onnx/model_q4f16.onnx', bytes: 3 },
        { path: 'model.onnx', bytes: 21 },
      ])
      const wish = { slot: { device: 'cpu' }, stems: ['model'] }
      assert.equal(findGraph(folder, found, { ...wish, graph: 'model_q4.onnx' }).path, 'onnx/model_q4.onnx')
      assert.throws(
        () => findGraph(folder, found, { ...wish, graph: 'model_fp16.onnx' }),
        /onnx\/model_fp16\.onnx is missing; the model's folder has onnx\/model_q4\.onnx, onnx\/model_q4f16\.onnx, model\.onnx/,
      )
      assert.throws(() => findGraph(folder, [], wish), /has no graph at all/)
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})
