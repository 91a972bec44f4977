import { type GraphWriter, MICROSOFT } from '../../../src/library/kinds/causal-lm/graph/onnx-writer.ts'
import type { DecoderShape } from './decoder.ts'

/** Random weights of a graph, the same for the same seed, and the operators that use them. */
export interface Weights {
  /** A table of rows, by default random. */
  table: (name: string, rows: number, columns: number, values?: Float32Array) => string
  /** A random tensor of which each output sums `fanIn` products. */
  tensor: (name: string, dims: readonly number[], fanIn: number) => string
  /** A tensor that stays in float32, whatever the graph computes in. */
  exact: (name: string, dims: readonly number[], values: Float32Array) => string
  /** One number in the type that the graph computes in. */
  number: (value: number) => string
  /** Brings float32 to the type that the graph computes in. */
  narrow: (value: string) => string
  /** `x` times a random matrix. */
  project: (x: string, name: string, from: number, to: number) => string
  /** RMSNorm, in the form that ONNX Runtime recognises and replaces by one operator. */
  norm: (x: string, name: string, size: number) => string
}

type WeightOptions = Pick<DecoderShape, 'type' | 'matrices' | 'external' | 'gain' | 'seed'>

export function createWeights(
  g: GraphWriter,
  { type, matrices, external, gain, seed }: WeightOptions,
): Weights {
  const known = new Set<string>()
  const store = (name: string, dims: readonly number[], values: Float32Array) => {
    if (known.has(name)) return name
    known.add(name)
    const data = type === 'float16' ? new Float16Array(values) : values
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    return g.weight(name, type, dims, external && bytes.length > 1024 ? external(name, bytes) : bytes)
  }
  const random = (name: string, length: number, deviation: number) =>
    gaussian(`${seed} ${name}`, length, deviation)
  const narrow = (value: string) => (type === 'float16' ? g.op('Cast', [value], { to: 10 }) : value)
  const number = (value: number) => store(`number_${value}`, [], Float32Array.of(value))
  return {
    number,
    narrow,
    exact: (name, dims, values) => g.weight(name, 'float32', dims, values),
    table: (name, rows, columns, values) =>
      store(
        name,
        [rows, columns],
        values ?? (known.has(name) ? empty : random(name, rows * columns, columns ** -0.5)),
      ),
    tensor: (name, dims, fanIn) => {
      const length = dims.reduce((product, dim) => product * dim, 1)
      return store(name, dims, random(name, length, gain * fanIn ** -0.5))
    },
    project(x, name, from, to) {
      const values = random(name, from * to, gain * from ** -0.5)
      if (matrices === 'dynamic-int8') return multiplyBytes(g, x, name, [from, to], values)
      if (matrices === 'int4') return multiplyBlocks(g, x, name, [from, to], values)
      return g.op('MatMul', [x, store(name, [from, to], values)])
    },
    norm(x, name, size) {
      const variance = g.op('ReduceMean', [g.op('Pow', [x, number(2)])], { axes: [-1], keepdims: 1 })
      const deviation = g.op('Sqrt', [g.op('Add', [variance, number(1e-5)])])
      return g.op('Mul', [store(name, [size], new Float32Array(size).fill(1)), g.op('Div', [x, deviation])])
    },
  }
}

const empty = new Float32Array(0)

/** Weights of 8 bits, and activations brought to 8 bits by one scale for all that goes through at once. */
function multiplyBytes(
  g: GraphWriter,
  x: string,
  name: string,
  dims: [number, number],
  values: Float32Array,
): string {
  const scale = values.reduce((greatest, value) => Math.max(greatest, Math.abs(value)), 0) / 127
  const weight = g.weight(
    name,
    'int8',
    dims,
    Int8Array.from(values, (value) => Math.round(value / scale)),
  )
  const [bytes, step, zero] = g.ops('DynamicQuantizeLinear', [x], 3) as [string, string, string]
  const zeroPoint = g.weight(`${name}.zero`, 'int8', [], Int8Array.of(0))
  const product = g.op('Cast', [g.op('MatMulInteger', [bytes, weight, zero, zeroPoint])], { to: 1 })
  const scales = g.op('Mul', [step, g.weight(`${name}.scale`, 'float32', [], Float32Array.of(scale))])
  return g.op('Mul', [product, scales])
}

/** Weights in a block that share a scale. */
const BLOCK = 32

function multiplyBlocks(
  g: GraphWriter,
  x: string,
  name: string,
  dims: [number, number],
  values: Float32Array,
): string {
  const [from, to] = dims
  const blocks = Math.ceil(from / BLOCK)
  const packed = new Uint8Array(to * blocks * (BLOCK / 2))
  const scales = new Float32Array(to * blocks)
  for (let column = 0; column < to; column++) {
    for (let block = 0; block < blocks; block++) {
      const of = (i: number) => values[(block * BLOCK + i) * to + column] ?? 0
      let greatest = 0
      for (let i = 0; i < BLOCK; i++) greatest = Math.max(greatest, Math.abs(of(i)))
      const scale = greatest / 7 || 1
      scales[column * blocks + block] = scale
      for (let i = 0; i < BLOCK; i++) {
        const at = (column * blocks + block) * (BLOCK / 2) + (i >> 1)
        packed[at] = (packed[at] as number) | ((Math.round(of(i) / scale) + 8) << (i % 2 ? 4 : 0))
      }
    }
  }
  const weight = g.weight(name, 'uint8', [to, blocks, BLOCK / 2], packed)
  const steps = g.weight(`${name}.scales`, 'float32', [to * blocks], scales)
  return g.op('MatMulNBits', [x, weight, steps], {
    domain: MICROSOFT,
    K: from,
    N: to,
    bits: 4,
    block_size: BLOCK,
    accuracy_level: 4,
  })
}

/** Numbers of a normal distribution, as good as sums of a few uniform ones are. */
function gaussian(name: string, length: number, deviation: number): Float32Array {
  let state = 0x9e3779b9
  for (const letter of name) state = Math.imul(state ^ letter.charCodeAt(0), 0x01000193) >>> 0
  const uniform = () => {
    // mulberry32 by Tommy Ettinger.
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const numbers = new Float32Array(length)
  const scale = Math.sqrt(3) * deviation
  for (let i = 0; i < length; i++) numbers[i] = (uniform() + uniform() + uniform() + uniform() - 2) * scale
  return numbers
}
