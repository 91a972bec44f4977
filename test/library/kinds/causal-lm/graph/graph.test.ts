import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ConfigFile, toModelConfig } from '../../../../../src/library/kinds/causal-lm/files/model-config.ts'
import { readGraph, type ValueInfo } from '../../../../../src/library/kinds/causal-lm/graph/graph.ts'
import { ContextFilesError } from '../../../../../src/common/task-errors.ts'

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
        hasMask: true,
        hasBranches: false,
        hasPositions: true,
        keepLogits: undefined,
        state: ['0.key', '0.value', '1.key', '1.value'].map((part) => ({
          input: `past_key_values.${part}`,
          output: `present.${part}`,
          type: 'float32',
          dims: [0, 2, 0, 8],
          grows: 2,
        })),
        logitsType: 'float32',
        vocabSize: 100,
      },
    )
  })

  test('may order its inputs as it likes, count positions itself, and use other types', () => {
    const { inputs, outputs } = ports({ kv: 'float16' })
    without(inputs, 'position_ids')
    const graph = read({ inputs: inputs.toReversed(), outputs: outputs.toReversed() })
    assert.equal(graph.hasPositions, false)
    assert.deepEqual(new Set(graph.state.map(({ type }) => type)), new Set(['float16']))
    assert.ok(
      graph.state.every(({ input, output }) => output === input.replace('past_key_values', 'present')),
    )
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
    const sizes = (changes: object = {}) => read(open, changes).state[0]?.dims
    assert.deepEqual(sizes(), [0, 2, 0, 8])
    assert.deepEqual(sizes({ num_key_value_heads: undefined }), [0, 4, 0, 8])
    assert.deepEqual(sizes({ head_dim: 16 }), [0, 2, 0, 16])
    const old = { num_hidden_layers: undefined, num_attention_heads: undefined, hidden_size: undefined }
    const named = { ...old, n_layer: 2, n_head: 2, n_embd: 16, num_key_value_heads: undefined }
    assert.deepEqual(sizes(named), [0, 2, 0, 8])
  })

  test('remembers whatever goes in and comes out in pairs, of any shape, under any of the usual names', () => {
    const { inputs, outputs } = ports()
    const pair = (before: string, after: string, shape: (number | string)[], then = shape) => {
      inputs.push(value(before, 'float32', shape))
      outputs.push(value(after, 'float32', then))
    }
    pair('past_conv.2', 'present_conv.2', ['batch', 16, 3])
    pair('past_ssm.3', 'present_ssm.3', ['b', 4, 8, 16])
    pair('cache_params.past.recurrent.4', 'cache_params.present.recurrent.4', ['b', 2])
    pair('past_5.latent', 'present_5.latent', ['b', 'past_sequence_length', 12], ['b', 'total', 12])
    const { state } = read({ inputs, outputs }, { num_hidden_layers: 6 })
    assert.deepEqual(
      state.slice(4).map(({ output, dims, grows }) => ({ output, dims, grows })),
      [
        { output: 'present_conv.2', dims: [0, 16, 3], grows: undefined },
        { output: 'present_ssm.3', dims: [0, 4, 8, 16], grows: undefined },
        { output: 'cache_params.present.recurrent.4', dims: [0, 2], grows: undefined },
        { output: 'present_5.latent', dims: [0, 0, 12], grows: 1 },
      ],
    )
  })

  test('may have keys and values of different sizes, names of dimensions by layer, and fewer layers than config.json', () => {
    const { inputs, outputs } = ports()
    const layers = inputs.map((info, i) =>
      info.name.includes('past')
        ? { ...info, shape: ['b', 2, `past_${i}`, info.name.endsWith('key') ? 8 : 4] }
        : info,
    )
    const { state } = read({ inputs: layers, outputs }, { num_hidden_layers: 30 })
    assert.deepEqual(
      state.map(({ dims, grows }) => [...dims, grows]),
      [8, 4, 8, 4].map((size) => [0, 2, 0, size, 2]),
    )
  })

  test('is refused without a state to go on from, or with half of one', () => {
    refuses((graph) => void (graph.inputs = graph.inputs.slice(0, 3)), /takes no KV cache.*export/)
    refuses(
      ({ inputs }) => without(inputs, 'past_key_values.1.key'),
      /no input that its output present\.1\.key/,
    )
    refuses(
      ({ outputs }) => without(outputs, 'present.0.value'),
      /no output .* input past_key_values\.0\.value/,
    )
    refuses(({ inputs }) => {
      inputs[4] = value('past_key_values.0.value', 'float16', ['batch', 2, 'past', 8])
    }, /takes past_key_values\.0\.value as float16, but gives present\.0\.value as float32/)
    refuses(({ inputs }) => {
      inputs[4] = value('past_key_values.0.value', 'float32', ['batch', 'odd', 'sizes'])
    }, /leaves dimension 1 of past_key_values\.0\.value open/)
  })

  test('is refused if it wants or lacks something else', () => {
    refuses(({ inputs }) => inputs.push(value('pixel_values', 'bool', [1])), /not supported: pixel_values/)
    refuses(({ inputs }) => without(inputs, 'input_ids'), /no input input_ids/)
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
    refuses(same, /2 layers, but config\.json says 1/, { num_hidden_layers: 1 })
    refuses(same, /100 vocab_size, but config\.json says 101/, { vocab_size: 101 })
  })

  test('is refused if its size is not known', () => {
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
