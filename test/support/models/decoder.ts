import { GraphWriter, MICROSOFT } from '../../../src/library/kinds/causal-lm/graph/onnx-writer.ts'
import { createWeights, type Weights } from './weights.ts'

/*
 * Graphs of small causal language models in the shapes that public exports have, with random weights: same inputs, outputs
 * and state, whatever the family, a thousandth of the size.
 */

/** What one layer mixes tokens with, and what it remembers of them. */
export type LayerKind =
  /** Attention to everything before: keys and values. */
  | 'full'
  /** Attention to what the layer before has in its cache; it has none of its own. */
  | 'shared'
  /** Attention to the last `window` tokens, keys and values of all being kept. */
  | { readonly window: number }
  /** A short convolution: the last three hidden states. */
  | 'conv'
  /** A recurrence: one state of fixed size. */
  | 'recurrent'

export interface DecoderShape {
  layers: readonly LayerKind[]
  vocabSize: number
  hidden: number
  intermediate: number
  heads: number
  kvHeads: number
  headDim: number
  /** Size of a value where it is not that of a key. */
  valueDim: number
  /** `plain` operators, or the one that ONNX Runtime has for it, which wants rows padded on the right. */
  attention: 'plain' | 'group-query'
  /** Positions are an input, counted by the mask, or counted by columns, padding included. */
  positions: 'input' | 'mask' | 'columns'
  type: 'float32' | 'float16'
  /** Whether it wants to be told if there is something to go on from, as merged decoders do. */
  branches: boolean
  /** Name of an input that limits for how many positions, from the end, logits are computed. */
  keepLogits: string | undefined
  /** Rotary frequencies change once a sequence of the batch, padding included, is longer than this. */
  longAfter: number | undefined
  /** How matrices are stored: as numbers, as 8 bits with activations brought to 8 bits as well, or as blocks of 4 bits. */
  matrices: 'float' | 'dynamic-int8' | 'int4'
  /** Names of dimensions differ from layer to layer, as some exporters have it. */
  ownSymbols: boolean
  /** Where the bytes of weights go instead of the graph itself; called with the name of each. */
  external:
    ((name: string, bytes: Uint8Array) => { location: string; offset: number; length: number }) | undefined
  /** How strongly layers change what passes through them: without that the answer hangs on the last token alone. */
  gain: number
  seed: number
}

export const smallDecoder: DecoderShape = {
  layers: ['full', 'full'],
  vocabSize: 259,
  hidden: 16,
  intermediate: 32,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  valueDim: 16,
  attention: 'plain',
  positions: 'input',
  type: 'float32',
  branches: false,
  keepLogits: undefined,
  longAfter: undefined,
  matrices: 'float',
  ownSymbols: false,
  external: undefined,
  gain: 3,
  seed: 1,
}

/** What layers share: new tokens by row, and who may see whom. */
interface Frame {
  readonly g: GraphWriter
  readonly w: Weights
  readonly shape: DecoderShape
  readonly ids: string
  readonly mask: string | undefined
  /** Rotary factors, [batch, 1, sequence, headDim / 2]; undefined without attention. */
  readonly rotary: { cos: string; sin: string } | undefined
  /** What attention adds to its scores, [batch, 1, sequence, total]. */
  bias: (window: number | undefined) => string
}

/** Writes the graph of a decoder: the content of `model.onnx`. */
export function writeDecoder(changes: Partial<DecoderShape> = {}): Uint8Array {
  const shape = { ...smallDecoder, valueDim: changes.headDim ?? smallDecoder.headDim, ...changes }
  const g = new GraphWriter()
  const w = createWeights(g, shape)
  const frame = openFrame(g, w, shape)
  if (shape.branches) g.input('use_cache_branch', 'bool', [1])
  const embedding = w.table('embed_tokens', shape.vocabSize, shape.hidden)
  let x = g.op('Gather', [embedding, frame.ids])
  let cache: Cache | undefined
  shape.layers.forEach((kind, index) => {
    const normed = w.norm(x, `layers.${index}.input_norm`, shape.hidden)
    let mixed: string
    if (kind === 'conv') mixed = convolve(frame, index, normed)
    else if (kind === 'recurrent') mixed = recur(frame, index, normed)
    else ({ mixed, cache } = attend(frame, index, kind, normed, cache))
    x = g.op('Add', [x, mixed])
    x = g.op('Add', [x, feedForward(frame, index, w.norm(x, `layers.${index}.post_norm`, shape.hidden))])
  })
  writeLogits(frame, x)
  return g.toModel()
}

function openFrame(g: GraphWriter, w: Weights, shape: DecoderShape): Frame {
  const ids = g.input('input_ids', 'int64', ['batch_size', 'sequence_length'])
  const attends = shape.layers.some((kind) => kind !== 'conv' && kind !== 'recurrent')
  if (!attends) return { g, w, shape, ids, mask: undefined, rotary: undefined, bias: () => '' }

  const mask = g.input('attention_mask', 'int64', ['batch_size', 'total_sequence_length'])
  const total = g.op('Gather', [g.op('Shape', [mask]), g.integer(1)])
  const past = g.op('Sub', [total, sizeOf(g, ids, 1)])
  const columns = g.op('Range', [past, total, g.integer(1)])
  let positions: string
  if (shape.positions === 'input')
    positions = g.input('position_ids', 'int64', ['batch_size', 'sequence_length'])
  else if (shape.positions === 'columns') positions = g.op('Unsqueeze', [columns, g.integers(0)])
  else {
    const counted = g.op('Sub', [g.op('CumSum', [mask, g.integer(1)]), g.integer(1)])
    const tail = g.op('Gather', [counted, columns], { axis: 1 })
    positions = g.op('Max', [tail, g.integer(0)])
  }
  const rotary = shape.attention === 'plain' ? rotaryFactors(g, w, shape, positions, total) : undefined

  const biases = new Map<number | undefined, string>()
  const bias = (window: number | undefined) => {
    const known = biases.get(window)
    if (known !== undefined) return known
    const keys = g.op('Range', [g.integer(0), total, g.integer(1)])
    const queries = g.op('Unsqueeze', [columns, g.integers(1)])
    let seen = g.op('LessOrEqual', [keys, queries])
    if (window !== undefined) {
      const oldest = g.op('Sub', [queries, g.integer(window)])
      seen = g.op('And', [seen, g.op('Greater', [keys, oldest])])
    }
    const real = g.op('Cast', [mask], { to: 9 })
    seen = g.op('And', [
      g.op('Unsqueeze', [seen, g.integers(0, 1)]),
      g.op('Unsqueeze', [real, g.integers(1, 2)]),
    ])
    const added = g.op('Where', [seen, w.number(0), w.number(-60_000)])
    biases.set(window, added)
    return added
  }
  return { g, w, shape, ids, mask, rotary, bias }
}

function sizeOf(g: GraphWriter, value: string, axis: number): string {
  return g.op('Gather', [g.op('Shape', [value]), g.integer(axis)])
}

function rotaryFactors(g: GraphWriter, w: Weights, shape: DecoderShape, positions: string, total: string) {
  const { headDim, longAfter } = shape
  const half = headDim / 2
  const rates = (base: number) => Float32Array.from({ length: half }, (_, i) => base ** (-i / half))
  let frequencies = w.exact('rotary', [half], rates(10_000))
  if (longAfter !== undefined) {
    const long = g.op('Greater', [total, g.integer(longAfter)])
    frequencies = g.op('Where', [long, w.exact('rotary_long', [half], rates(300)), frequencies])
  }
  const angles = g.op('Mul', [
    g.op('Cast', [g.op('Unsqueeze', [positions, g.integers(1, 3)])], { to: 1 }),
    frequencies,
  ])
  return { cos: w.narrow(g.op('Cos', [angles])), sin: w.narrow(g.op('Sin', [angles])) }
}

interface Cache {
  key: string
  value: string
}

function attend(frame: Frame, index: number, kind: LayerKind, x: string, before: Cache | undefined) {
  const { g, w, shape } = frame
  const { hidden, heads, kvHeads, headDim, valueDim } = shape
  const name = `layers.${index}`
  const window = typeof kind === 'object' ? kind.window : undefined
  const own = kind !== 'shared'
  const q = w.project(x, `${name}.q`, hidden, heads * headDim)
  const k = own ? w.project(x, `${name}.k`, hidden, kvHeads * headDim) : ''
  const v = own ? w.project(x, `${name}.v`, hidden, kvHeads * valueDim) : ''
  const past = own ? cachePorts(frame, index) : undefined
  const back = (mixed: string) => w.project(mixed, `${name}.o`, heads * valueDim, hidden)
  if (shape.attention === 'group-query') {
    if (!past) throw new Error('a layer of group-query attention has a cache of its own')
    return { mixed: back(groupQuery(frame, { q, k, v }, past, window)), cache: undefined }
  }

  const split = (value: string, count: number, size: number) =>
    g.op('Transpose', [g.op('Reshape', [value, g.integers(0, 0, count, size)])], { perm: [0, 2, 1, 3] })
  let cache = before
  if (past) {
    const key = g.op(
      'Concat',
      [past.key, rotate(frame, split(k, kvHeads, headDim))],
      { axis: 2 },
      past.newKey,
    )
    const value = g.op('Concat', [past.value, split(v, kvHeads, valueDim)], { axis: 2 }, past.newValue)
    cache = { key, value }
  }
  if (!cache) throw new Error('a layer that shares a cache comes after one that has it')
  const spread = (value: string, size: number) => {
    const each = g.op('Unsqueeze', [value, g.integers(2)])
    const copies = Array.from({ length: heads / kvHeads }, () => each)
    return g.op('Reshape', [g.op('Concat', copies, { axis: 2 }), g.integers(0, heads, -1, size)])
  }
  const keys = g.op('Transpose', [spread(cache.key, headDim)], { perm: [0, 1, 3, 2] })
  const scores = g.op('Mul', [
    g.op('MatMul', [rotate(frame, split(q, heads, headDim)), keys]),
    w.number(1 / Math.sqrt(headDim)),
  ])
  const weights = g.op('Softmax', [g.op('Add', [scores, frame.bias(window)])], { axis: -1 })
  const mixed = g.op('Transpose', [g.op('MatMul', [weights, spread(cache.value, valueDim)])], {
    perm: [0, 2, 1, 3],
  })
  return { mixed: back(g.op('Reshape', [mixed, g.integers(0, 0, heads * valueDim)])), cache }
}

/** Inputs and outputs of one layer's keys and values. */
function cachePorts({ g, shape }: Frame, index: number) {
  const { kvHeads, headDim, valueDim, type, ownSymbols } = shape
  const past = ownSymbols ? `past_${index}` : 'past_sequence_length'
  const total = ownSymbols ? `present_${index}` : 'total_sequence_length'
  const port = (part: string, size: number) => {
    g.output(`present.${index}.${part}`, type, ['batch_size', kvHeads, total, size])
    return g.input(`past_key_values.${index}.${part}`, type, ['batch_size', kvHeads, past, size])
  }
  return {
    key: port('key', headDim),
    value: port('value', valueDim),
    newKey: `present.${index}.key`,
    newValue: `present.${index}.value`,
  }
}

function rotate({ g, shape, rotary }: Frame, x: string): string {
  if (!rotary) throw new Error('there are no positions')
  const half = shape.headDim / 2
  const first = g.op('Slice', [x, g.integers(0), g.integers(half), g.integers(3)])
  const second = g.op('Slice', [x, g.integers(half), g.integers(2 * half), g.integers(3)])
  const { cos, sin } = rotary
  const left = g.op('Sub', [g.op('Mul', [first, cos]), g.op('Mul', [second, sin])])
  const right = g.op('Add', [g.op('Mul', [second, cos]), g.op('Mul', [first, sin])])
  return g.op('Concat', [left, right], { axis: -1 })
}

function groupQuery(
  { g, w, shape, mask }: Frame,
  { q, k, v }: { q: string; k: string; v: string },
  past: ReturnType<typeof cachePorts>,
  window: number | undefined,
): string {
  const { heads, kvHeads, headDim } = shape
  const positions = 4096
  const angles = (of: (x: number) => number) =>
    Float32Array.from({ length: (positions * headDim) / 2 }, (_, i) => {
      const half = headDim / 2
      return of(Math.floor(i / half) * 10_000 ** (-(i % half) / half))
    })
  const lengths = g.op('Sub', [
    g.op('ReduceSum', [mask as string, g.integers(1)], { keepdims: 0 }),
    g.integers(1),
  ])
  const total = g.op('Gather', [g.op('Shape', [mask as string]), g.integer(1)])
  const out = `${past.newKey}.mixed`
  g.node(
    'GroupQueryAttention',
    [
      q,
      k,
      v,
      past.key,
      past.value,
      g.op('Cast', [lengths], { to: 6 }),
      g.op('Cast', [total], { to: 6 }),
      w.table('cos_cache', positions, headDim / 2, angles(Math.cos)),
      w.table('sin_cache', positions, headDim / 2, angles(Math.sin)),
    ],
    [out, past.newKey, past.newValue],
    {
      domain: MICROSOFT,
      num_heads: heads,
      kv_num_heads: kvHeads,
      do_rotary: 1,
      ...(window !== undefined && { local_window_size: window }),
    },
  )
  return out
}

function convolve({ g, w, shape }: Frame, index: number, x: string): string {
  const { hidden, type } = shape
  const reach = 3
  const past = g.input(`past_conv.${index}`, type, ['batch_size', hidden, reach])
  const projected = w.project(x, `layers.${index}.in`, hidden, 3 * hidden)
  const [before, after, value] = g.ops('Split', [projected, g.integers(hidden, hidden, hidden)], 3, {
    axis: 2,
  }) as [string, string, string]
  const gated = g.op('Transpose', [g.op('Mul', [before, value])], { perm: [0, 2, 1] })
  const all = g.op('Concat', [past, gated], { axis: 2 })
  const end = g.integers(Number.MAX_SAFE_INTEGER)
  g.op('Slice', [all, g.integers(-reach), end, g.integers(2)], {}, `present_conv.${index}`)
  g.output(`present_conv.${index}`, type, ['batch_size', hidden, reach])
  const kernel = w.tensor(`layers.${index}.kernel`, [hidden, 1, reach], reach)
  const mixed = g.op('Conv', [all, kernel], { group: hidden, kernel_shape: [reach] })
  const fresh = g.op('Slice', [mixed, g.integers(1), end, g.integers(2)])
  return w.project(
    g.op('Mul', [g.op('Transpose', [fresh], { perm: [0, 2, 1] }), after]),
    `layers.${index}.out`,
    hidden,
    hidden,
  )
}

/** h(t) = r h(t-1) + x(t) for two rates r, all steps at once: powers of r in a triangle. */
function recur({ g, w, shape }: Frame, index: number, x: string): string {
  const { hidden, type } = shape
  const past = g.input(`past_ssm.${index}`, type, ['batch_size', hidden, 2])
  const value = w.project(x, `layers.${index}.in`, hidden, hidden)
  const length = sizeOf(g, value, 1)
  const steps = g.op('Cast', [g.op('Range', [g.integer(0), length, g.integer(1)])], { to: 1 })
  const across = g.op('Sub', [
    g.op('Unsqueeze', [steps, g.integers(1)]),
    g.op('Unsqueeze', [steps, g.integers(0)]),
  ])
  const causal = g.op('GreaterOrEqual', [across, g.float(0)])
  const states = [0.5, 0.9].map((rate, i) => {
    const powers = g.op('Pow', [g.float(rate), g.op('Max', [across, g.float(0)])])
    const triangle = w.narrow(g.op('Where', [causal, powers, g.float(0)]))
    const begun = g.op('Slice', [past, g.integers(i), g.integers(i + 1), g.integers(2)])
    const kept = w.narrow(
      g.op('Unsqueeze', [g.op('Pow', [g.float(rate), g.op('Add', [steps, g.float(1)])]), g.integers(1)]),
    )
    const carried = g.op('Mul', [g.op('Transpose', [begun], { perm: [0, 2, 1] }), kept])
    return g.op('Add', [g.op('MatMul', [triangle, value]), carried])
  })
  const both = g.op(
    'Concat',
    states.map((state) => g.op('Unsqueeze', [state, g.integers(3)])),
    { axis: 3 },
  )
  const last = g.op('Slice', [both, g.integers(-1), g.integers(Number.MAX_SAFE_INTEGER), g.integers(1)])
  g.op('Squeeze', [last, g.integers(1)], {}, `present_ssm.${index}`)
  g.output(`present_ssm.${index}`, type, ['batch_size', hidden, 2])
  const flat = g.op('Reshape', [both, g.integers(0, 0, 2 * hidden)])
  return w.project(flat, `layers.${index}.out`, 2 * hidden, hidden)
}

function feedForward({ g, w, shape }: Frame, index: number, x: string): string {
  const { hidden, intermediate } = shape
  const gate = w.project(x, `layers.${index}.gate`, hidden, intermediate)
  const up = w.project(x, `layers.${index}.up`, hidden, intermediate)
  const active = g.op('Mul', [g.op('Mul', [gate, g.op('Sigmoid', [gate])]), up])
  return w.project(active, `layers.${index}.down`, intermediate, hidden)
}

function writeLogits({ g, w, shape }: Frame, states: string): void {
  let x = w.norm(states, 'norm', shape.hidden)
  if (shape.keepLogits !== undefined) {
    const kept = g.input(shape.keepLogits, 'int64', [])
    const start = g.op('Unsqueeze', [g.op('Neg', [kept]), g.integers(0)])
    x = g.op('Slice', [x, start, g.integers(Number.MAX_SAFE_INTEGER), g.integers(1)])
  }
  const head = g.op('Transpose', ['embed_tokens'], { perm: [1, 0] })
  g.op('MatMul', [x, head], {}, 'logits')
  g.output('logits', shape.type, ['batch_size', 'logits_length', shape.vocabSize])
}
