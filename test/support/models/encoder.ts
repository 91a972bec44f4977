import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GraphWriter } from '../../../src/library/kinds/causal-lm/graph/onnx-writer.ts'
import { copyTokenizer } from './folder.ts'
import { createWeights, type Weights } from './weights.ts'

/*
 * Graphs of small models that read whole texts, alone (BERT and its kin) or for a decoder (T5, BART), with random weights:
 * the inputs and outputs of public exports, a thousandth of the size.
 */

const HIDDEN = 16
const VOCABULARY = 259
const PLAIN = { type: 'float32', matrices: 'float', external: undefined, gain: 2, seed: 1 } as const

function start(): { g: GraphWriter; w: Weights } {
  const g = new GraphWriter()
  return { g, w: createWeights(g, PLAIN) }
}

/** Attention of one head: `query` [batch, sequence, hidden], keys and values [batch, 1, total, hidden]. */
function attend(
  { g, w }: ReturnType<typeof start>,
  query: string,
  keys: string,
  values: string,
  bias: string,
) {
  const q = g.op('Unsqueeze', [query, g.integers(1)])
  const products = g.op('MatMul', [q, g.op('Transpose', [keys], { perm: [0, 1, 3, 2] })])
  const scores = g.op('Add', [g.op('Mul', [products, w.number(HIDDEN ** -0.5)]), bias])
  return g.op('Squeeze', [g.op('MatMul', [g.op('Softmax', [scores], { axis: -1 }), values]), g.integers(1)])
}

const heads = (g: GraphWriter, x: string, as?: string) => g.op('Unsqueeze', [x, g.integers(1)], {}, as)

/** What hides padding: [batch, 1, 1, total]. */
function hidePadding(g: GraphWriter, w: Weights, mask: string): string {
  const seen = g.op('Unsqueeze', [g.op('Cast', [mask], { to: 9 }), g.integers(1, 2)])
  return g.op('Where', [seen, w.number(0), w.number(-60_000)])
}

function readTexts(part: ReturnType<typeof start>, pairs: boolean): string {
  const { g, w } = part
  const ids = g.input('input_ids', 'int64', ['batch_size', 'sequence_length'])
  const mask = g.input('attention_mask', 'int64', ['batch_size', 'sequence_length'])
  let x = g.op('Gather', [w.table('words', VOCABULARY, HIDDEN), ids])
  if (pairs) {
    const types = g.input('token_type_ids', 'int64', ['batch_size', 'sequence_length'])
    x = g.op('Add', [x, g.op('Gather', [w.table('types', 2, HIDDEN), types])])
  }
  for (const layer of ['0', '1']) {
    const project = (name: string) => w.project(x, `${layer}.${name}`, HIDDEN, HIDDEN)
    const mixed = attend(
      part,
      project('q'),
      heads(g, project('k')),
      heads(g, project('v')),
      hidePadding(g, w, mask),
    )
    x = w.norm(g.op('Add', [x, mixed]), `${layer}.norm`, HIDDEN)
  }
  return x
}

/** Writes the graph of an encoder: vectors of tokens, or scores of so many classes. */
export function writeEncoder(classes?: number): Uint8Array {
  const part = start()
  const { g, w } = part
  const x = readTexts(part, true)
  if (classes === undefined) {
    g.op('Identity', [x], {}, 'last_hidden_state')
    g.output('last_hidden_state', 'float32', ['batch_size', 'sequence_length', HIDDEN])
  } else {
    const first = g.op('Gather', [x, g.integer(0)], { axis: 1 })
    g.op('Identity', [w.project(first, 'classes', HIDDEN, classes)], {}, 'logits')
    g.output('logits', 'float32', ['batch_size', classes])
  }
  return g.toModel()
}

function writeEncoderHalf(): Uint8Array {
  const part = start()
  part.g.op('Identity', [readTexts(part, false)], {}, 'last_hidden_state')
  part.g.output('last_hidden_state', 'float32', ['batch_size', 'sequence_length', HIDDEN])
  return part.g.toModel()
}

/** The decoder with both of its branches: what it knows of the prompt comes out in the first pass alone. */
function writeDecoderHalf(): Uint8Array {
  const part = start()
  const { g, w } = part
  const mask = g.input('encoder_attention_mask', 'int64', ['batch_size', 'encoder_sequence_length'])
  const ids = g.input('input_ids', 'int64', ['batch_size', 'decoder_sequence_length'])
  const states = g.input('encoder_hidden_states', 'float32', [
    'batch_size',
    'encoder_sequence_length',
    HIDDEN,
  ])
  const cache = (name: string, size: string) =>
    g.input(`past_key_values.0.${name}`, 'float32', ['batch_size', 1, size, HIDDEN])
  const past = {
    key: cache('decoder.key', 'past_decoder_sequence_length'),
    value: cache('decoder.value', 'past_decoder_sequence_length'),
    encoderKey: cache('encoder.key', 'encoder_sequence_length_out'),
    encoderValue: cache('encoder.value', 'encoder_sequence_length_out'),
  }
  const cached = g.input('use_cache_branch', 'bool', [1])
  let x = g.op('Gather', [w.table('words', VOCABULARY, HIDDEN), ids])

  const output = (name: string) => g.output(name, 'float32', ['batch_size', 1, `${name}_length`, HIDDEN])
  const grow = (before: string, fresh: string, name: string) => {
    output(name)
    return g.op('Concat', [before, heads(g, fresh)], { axis: 2 }, name)
  }
  const keys = grow(past.key, w.project(x, 'self.k', HIDDEN, HIDDEN), 'present.0.decoder.key')
  const values = grow(past.value, w.project(x, 'self.v', HIDDEN, HIDDEN), 'present.0.decoder.value')
  x = g.op('Add', [
    x,
    attend(part, w.project(x, 'self.q', HIDDEN, HIDDEN), keys, values, causal(g, w, past.key, ids)),
  ])

  const known = (before: string, name: string, as: string) => {
    const fresh = heads(g, w.project(states, name, HIDDEN, HIDDEN))
    output(as)
    const nothing = (sub: GraphWriter) =>
      sub.op('Slice', [before, sub.integers(0), sub.integers(0), sub.integers(2)])
    choose(g, cached, nothing, (sub) => sub.op('Identity', [fresh]), as)
    return choose(
      g,
      cached,
      (sub) => sub.op('Identity', [before]),
      (sub) => sub.op('Identity', [fresh]),
    )
  }
  const seenKeys = known(past.encoderKey, 'cross.k', 'present.0.encoder.key')
  const seenValues = known(past.encoderValue, 'cross.v', 'present.0.encoder.value')
  const query = w.project(x, 'cross.q', HIDDEN, HIDDEN)
  x = w.norm(
    g.op('Add', [x, attend(part, query, seenKeys, seenValues, hidePadding(g, w, mask))]),
    'norm',
    HIDDEN,
  )
  g.op('Identity', [w.project(x, 'head', HIDDEN, VOCABULARY)], {}, 'logits')
  g.output('logits', 'float32', ['batch_size', 'decoder_sequence_length', VOCABULARY])
  return g.toModel()
}

let branches = 0

function choose(
  g: GraphWriter,
  condition: string,
  yes: (sub: GraphWriter) => string,
  no: (sub: GraphWriter) => string,
  as?: string,
): string {
  const branch = (build: (sub: GraphWriter) => string) => {
    const sub = new GraphWriter(`branch_${branches++}_`)
    sub.output(build(sub), 'float32', ['b', 'h', 'l', 'd'])
    return sub
  }
  return g.op('If', [condition], { then_branch: branch(yes), else_branch: branch(no) }, as)
}

/** Hides what comes later: [sequence, total]. */
function causal(g: GraphWriter, w: Weights, past: string, ids: string): string {
  const size = (value: string, axis: number) => g.op('Gather', [g.op('Shape', [value]), g.integer(axis)])
  const before = size(past, 2)
  const total = g.op('Add', [before, size(ids, 1)])
  const queries = g.op('Unsqueeze', [g.op('Range', [before, total, g.integer(1)]), g.integers(1)])
  const keys = g.op('Range', [g.integer(0), total, g.integer(1)])
  return g.op('Where', [g.op('LessOrEqual', [keys, queries]), w.number(0), w.number(-60_000)])
}

/** Writes a folder with an encoder. */
export async function writeEncoderFolder(
  folder: string,
  classes?: number,
  config: object = {},
): Promise<void> {
  await write(folder, { 'model.onnx': writeEncoder(classes) }, { model_type: 'bert', ...config })
}

/** Writes a folder with an encoder-decoder pair; answers begin with token 0. */
export async function writePairFolder(folder: string, config: object = {}): Promise<void> {
  const graphs = { 'encoder_model.onnx': writeEncoderHalf(), 'decoder_model_merged.onnx': writeDecoderHalf() }
  await write(folder, graphs, { model_type: 't5', decoder_start_token_id: 0, eos_token_id: 1, ...config })
}

async function write(folder: string, graphs: Record<string, Uint8Array>, config: object): Promise<void> {
  await mkdir(join(folder, 'onnx'), { recursive: true })
  for (const [name, bytes] of Object.entries(graphs)) await writeFile(join(folder, 'onnx', name), bytes)
  await writeFile(
    join(folder, 'config.json'),
    JSON.stringify({ vocab_size: VOCABULARY, pad_token_id: 0, ...config }),
  )
  await copyTokenizer(folder)
}
