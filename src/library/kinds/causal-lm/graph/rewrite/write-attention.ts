import type { GraphWriter } from '../onnx-writer.ts'
import type { FloatType } from '../graph.ts'
import type { Attention } from './find-attention.ts'

/*
 * Attention to what is remembered and to what is new, without putting the two together: the cache goes in and is not
 * copied; only new columns come out. Queries that share keys are multiplied with them in one go.
 */

/** Sizes of one attention. */
export interface AttentionSizes {
  readonly heads: number
  readonly keyHeads: number
  readonly keySize: number
  readonly valueSize: number
  readonly type: FloatType
}

/** Values that all attention of a graph shares. */
export interface Shared {
  /** New columns of a row, a list of one number. */
  readonly columns: string
  /** New columns, and those that are remembered, room that is not in use included. */
  readonly split: (past: string) => string
  /** What is added to scores: nothing, or so much that what it is added to counts for nothing. [rows, 1, new, all] */
  readonly bias: (type: FloatType) => string
}

/** A number that outweighs every score, and that its type can hold together with one. */
const HIDDEN: Record<FloatType, number> = { float32: -1e30, float16: -30_000 }

const NUMBERS: Record<FloatType, number> = { float32: 1, float16: 10 }

/**
 * Values that the attention of a graph shares.
 *
 * @param mask the graph's input of that name, [rows, remembered and new columns]
 */
export function writeShared(g: GraphWriter, mask: string, ids: string): Shared {
  const all = g.op('Shape', [mask])
  const columns = g.op('Slice', [g.op('Shape', [ids]), g.integers(1), g.integers(2)])
  const total = g.op('Slice', [all, g.integers(1), g.integers(2)])
  const scalar = (value: string) => g.op('Squeeze', [value])
  // A query sees columns up to its own; its own is as far from the end as it is from the end of the new ones.
  const range = (from: string, to: string) => g.op('Range', [from, to, g.integer(1)])
  const zero = g.integer(0)
  const own = range(scalar(g.op('Sub', [total, columns])), scalar(total))
  const before = g.op('LessOrEqual', [range(zero, scalar(total)), g.op('Unsqueeze', [own, g.integers(1)])])
  const real = g.op('Cast', [g.op('Unsqueeze', [mask, g.integers(1, 2)])], { to: 9 })
  const seen = g.op('And', [before, real])
  const biases = new Map<FloatType, string>()
  const splits = new Map<string, string>()
  return {
    columns,
    split(past) {
      const known = splits.get(past)
      if (known !== undefined) return known
      const width = g.op('Slice', [g.op('Shape', [past]), g.integers(2), g.integers(3)])
      const split = g.op('Concat', [width, columns], { axis: 0 })
      splits.set(past, split)
      return split
    },
    bias(type) {
      const known = biases.get(type)
      if (known !== undefined) return known
      const number = (value: number) => g.op('Cast', [g.float(value)], { to: NUMBERS[type] })
      const bias = g.op('Where', [seen, number(0), number(HIDDEN[type])])
      biases.set(type, bias)
      return bias
    },
  }
}

/** Writes one attention; its result has the name that it had. */
export function writeAttention(
  g: GraphWriter,
  { columns, split, bias }: Shared,
  { query, key, value, scales, grouped, result }: Attention,
  { heads, keyHeads, keySize, valueSize, type }: AttentionSizes,
): void {
  const scaled = scales.reduce((q, { by, divides }) => g.op(divides ? 'Div' : 'Mul', [q, by]), query)
  const queries = g.op('Reshape', [scaled, g.integers(0, keyHeads, -1, keySize)])
  const against = (keys: string) =>
    g.op('MatMul', [queries, g.op('Transpose', [keys], { perm: [0, 1, 3, 2] })])
  const scores = g.op('Concat', [against(key.past), against(key.fresh)], { axis: 3 })
  // Scores of a query lie in a line; of queries that share keys, those of one head follow those of another.
  const shape = (...sizes: Array<string | number>) =>
    g.op(
      'Concat',
      sizes.map((size) => (typeof size === 'number' ? g.integers(size) : size)),
      { axis: 0 },
    )
  const byHead = g.op('Reshape', [scores, shape(0, heads, columns, -1)])
  const weights = g.op('Softmax', [g.op('Add', [byHead, bias(type)])], { axis: 3 })
  const byKey = g.op('Reshape', [weights, g.integers(0, keyHeads, -1, 0)])
  const [old, fresh] = g.ops('Split', [byKey, split(key.past)], 2, { axis: 3 }) as [string, string]
  const mixed = g.op('Add', [g.op('MatMul', [old, value.past]), g.op('MatMul', [fresh, value.fresh])])
  g.op('Reshape', [mixed, g.integers(0, grouped ? keyHeads : heads, -1, valueSize)], {}, result)
}
