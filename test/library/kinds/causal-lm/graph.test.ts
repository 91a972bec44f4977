import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ConfigFile, toModelConfig } from '../../../../src/library/kinds/causal-lm/config.ts'
import { readGraph, type ValueInfo } from '../../../../src/library/kinds/causal-lm/graph.ts'
import { ContextFilesError } from '../../../../src/common/task-errors.ts'

const config = {
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  hidden_size: 32,
  vocab_size: 100,
}

function value(name: string, type: string, shape: (number | string)[]): ValueInfo {
  return { name, isTensor: true, type, shape }
}

interface PortOptions {
  kv?: string
  heads?: number | string
  size?: number | string
}

/** Inputs and outputs of a graph with two layers, as exports have them. */
function ports({ kv = 'float32', heads = 2, size = 8 }: PortOptions = {}) {
  const parts = ['0.key', '0.value', '1.key', '1.value']
  const cache = (prefix: string) =>
    parts.map((part) => value(`${prefix}.${part}`, kv, ['batch', heads, 'past', size]))
  const inputs = [
    value('input_ids', 'int64', ['batch', 'sequence']),
    value('attention_mask', 'int64', ['batch', 'total']),
    value('position_ids', 'int64', ['batch', 'sequence']),
    ...cache('past_key_values'),
  ]
  const outputs = [value('logits', kv, ['batch', 'sequence', 100]), ...cache('present')]
  return { inputs, outputs }
}

const read = ({ inputs, outputs }: ReturnType<typeof ports>, changes: object = {}) => {
  const file = ConfigFile.parse({ ...config, ...changes })
  return readGraph('onnx/model.onnx', inputs, outputs, toModelConfig(file, undefined))
}

const refuses = (
  change: (graph: ReturnType<typeof ports>) => void,
  message: RegExp,
  changes: object = {},
) => {
  const graph = ports()
  change(graph)
  assert.throws(
    () => read(graph, changes),
    (error) =>
      error instanceof ContextFilesError &&
      error.message.startsWith('onnx/model.onnx ') &&
      message.test(error.message),
    String(message),
  )
}

const without = (list: ValueInfo[], name: string) =>
  list.splice(
    list.findIndex((info) => info.name === name),
    1,
  )

describe('a graph', () => {
  test('is read from its own inputs and outputs', () => {
    const graph = read(ports())
    assert.deepEqual(
      { ...graph, integers: [...graph.integers] },
      {
        integers: [
          ['input_ids', 'int64'],
          ['attention_mask', 'int64'],
          ['position_ids', 'int64'],
        ],
        hasPositions: true,
        keepLogits: undefined,
        past: ['0.key', '0.value', '1.key', '1.value'].map((part) => `past_key_values.${part}`),
        present: ['0.key', '0.value', '1.key', '1.value'].map((part) => `present.${part}`),
        kvType: 'float32',
        kvHeads: 2,
        headDim: 8,
        vocabSize: 100,
      },
    )
  })

  test('may order its inputs as it likes, count positions itself, and use other types', () => {
    const { inputs, outputs } = ports({ kv: 'float16' })
    without(inputs, 'position_ids')
    const graph = read({ inputs: inputs.toReversed(), outputs: outputs.toReversed() })
    assert.equal(graph.hasPositions, false)
    assert.equal(graph.kvType, 'float16')
    assert.equal(graph.past[0], 'past_key_values.0.key')
  })

  test('may compute logits for the last positions only', () => {
    for (const [shape, dims] of [
      [[], []],
      [[1], [1]],
      [['n'], [1]],
    ] as [(number | string)[], number[]][]) {
      const { inputs, outputs } = ports()
      inputs.push(value('num_logits_to_keep', 'int64', shape))
      assert.deepEqual(read({ inputs, outputs }).keepLogits, { name: 'num_logits_to_keep', dims })
    }
  })

  test('may leave to config.json what it has of heads, under any name it uses', () => {
    const open = ports({ heads: 'heads', size: 'size' })
    assert.equal(read(open).kvHeads, 2)
    assert.equal(read(open, { num_key_value_heads: undefined }).kvHeads, 4)
    assert.equal(read(open, { head_dim: 16 }).headDim, 16)
    const old = { num_hidden_layers: undefined, num_attention_heads: undefined, hidden_size: undefined }
    const named = read(open, { ...old, n_layer: 2, n_head: 2, n_embd: 16, num_key_value_heads: undefined })
    assert.deepEqual([named.kvHeads, named.headDim], [2, 8])
  })

  test('is refused without a KV cache, whole and alike in all layers', () => {
    refuses((graph) => void (graph.inputs = graph.inputs.slice(0, 3)), /takes no KV cache.*export/)
    refuses(({ inputs }) => without(inputs, 'past_key_values.1.key'), /no input past_key_values\.1\.key/)
    refuses(({ outputs }) => without(outputs, 'present.0.value'), /no output present\.0\.value/)
    refuses(({ inputs }) => {
      inputs[4] = value('past_key_values.0.value', 'float16', ['batch', 2, 'past', 8])
    }, /uneven shape: past_key_values\.0\.value/)
    refuses((graph) => {
      graph.inputs = graph.inputs.map((info) => ({ ...info, shape: info.shape?.slice(1) ?? [] }))
    }, /other than four dimensions/)
  })

  test('is refused if it wants or lacks something else', () => {
    refuses(
      ({ inputs }) => inputs.push(value('use_cache_branch', 'bool', [1])),
      /not supported: use_cache_branch/,
    )
    refuses(({ inputs }) => without(inputs, 'attention_mask'), /no input attention_mask/)
    refuses(({ outputs }) => without(outputs, 'logits'), /no output logits; it has present/)
    refuses(
      ({ outputs }) => void (outputs[0] = value('logits', 'bfloat16', ['b', 's', 100])),
      /logits of type bfloat16/,
    )
    refuses(
      ({ inputs }) => void (inputs[0] = value('input_ids', 'float32', ['b', 's'])),
      /input_ids of type float32/,
    )
  })

  test('is refused if config.json is of another model', () => {
    const same = () => {}
    refuses(same, /2 layers, but config\.json says 3/, { num_hidden_layers: 3 })
    refuses(same, /2 num_key_value_heads, but config\.json says 4/, { num_key_value_heads: 4 })
    refuses(same, /8 head_dim, but config\.json says 64/, { head_dim: 64 })
    refuses(same, /100 vocab_size, but config\.json says 101/, { vocab_size: 101 })
  })

  test('is refused if nobody knows its size', () => {
    const open = ports({ size: 'size' })
    assert.throws(() => read(open, { hidden_size: undefined }), /dimension 3 of .* open: state head_dim/)
  })
})

describe('the tokens that end an answer', () => {
  test('may be one, several or none', () => {
    const end = (ids: number | number[] | null | undefined) => [
      ...toModelConfig(ConfigFile.parse({}), ids).endTokens,
    ]
    assert.deepEqual(end(2), [2])
    assert.deepEqual(end([2, 0]), [2, 0])
    assert.deepEqual(end(null), [])
    assert.deepEqual(end(undefined), [])
  })
})
