import { Tensor } from 'onnxruntime-node'
import type { Logits } from '../answers/sampling.ts'
import { floatsOf, makeTensor } from './tensors.ts'

type Numbers = Float32Array | Uint16Array | BigInt64Array | Int32Array

/** Copies rows of a tensor, its first dimension, in the given order. */
export function takeRows(tensor: Tensor, rows: readonly number[]): Tensor {
  const [count, ...rest] = tensor.dims as [number, ...number[]]
  const source = bitsOf(tensor)
  const size = source.length / count
  const copy = new (source.constructor as new (length: number) => Numbers)(rows.length * size)
  rows.forEach((row, i) => copy.set(source.subarray(row * size, (row + 1) * size) as never, i * size))
  const dims = [rows.length, ...rest]
  return tensor.type === 'float16'
    ? makeTensor('float16', copy as Uint16Array, dims)
    : new Tensor(tensor.type as 'float32', copy as Float32Array, dims)
}

/** The runtime hands out half-precision numbers as a Float16Array, but takes their bits only. */
function bitsOf(tensor: Tensor): Numbers {
  const data = tensor.data as Numbers
  if (tensor.type !== 'float16' || data instanceof Uint16Array) return data
  const { buffer, byteOffset, length } = data
  return new Uint16Array(buffer, byteOffset, length)
}

/** Scores of the token after the last of each row, of logits [rows, positions, vocabulary]. */
export function toScores(logits: Tensor, rows: number): (row: number) => Logits {
  const [given, positions, size] = logits.dims as [number, number, number]
  if (given !== rows) throw new Error(`the graph gave logits of ${given} rows for ${rows}`)
  const scores = floatsOf(logits)
  return (row) => {
    const end = (row + 1) * positions * size
    return scores.subarray(end - size, end)
  }
}
