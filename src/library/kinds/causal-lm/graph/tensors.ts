import { Tensor } from 'onnxruntime-node'
import type { FloatType, IntegerType, StatePort } from './graph.ts'

/* Tensors over memory of ours, which the runtime reads from and writes to without a copy. */

/** Numbers of a tensor as they lie in memory: those of half precision as bits. */
export type Numbers = Float32Array | Uint16Array

const Float16Tensor = Tensor as unknown as new (
  type: 'float16',
  data: Float16Array,
  dims: readonly number[],
) => Tensor

/**
 * onnxruntime gives and describes half precision as Float16Array, but reads and writes its bits only. This is a tensor to
 * both.
 */
class HalfTensor extends Float16Tensor {
  readonly #bits: Uint16Array

  constructor(bits: Uint16Array, dims: readonly number[]) {
    super('float16', new Float16Array(bits.buffer as ArrayBuffer, bits.byteOffset, bits.length), dims)
    this.#bits = bits
  }

  override get data(): never {
    return this.#bits as never
  }
}

export function makeTensor(type: FloatType, numbers: Numbers, dims: readonly number[]): Tensor {
  return type === 'float16'
    ? new HalfTensor(numbers as Uint16Array, dims)
    : new Tensor('float32', numbers as Float32Array, dims)
}

/** Numbers of a tensor of either precision, as numbers: those of half precision lie in memory as bits. */
export function floatsOf({ type, data }: Tensor): Float32Array | Float16Array {
  if (type !== 'float16') return data as Float32Array
  const { buffer, byteOffset, length } = data as unknown as Uint16Array
  return new Float16Array(buffer as ArrayBuffer, byteOffset, length)
}

/** Zeros: a part of the state of so many rows, of no columns where it grows. */
export function blankPort({ type, dims, grows }: StatePort, rows: number): Tensor {
  const sizes = dims.map((size, axis) => (axis === 0 ? rows : axis === grows ? 0 : size))
  const length = sizes.reduce((product, size) => product * size, 1)
  return makeTensor(type, type === 'float16' ? new Uint16Array(length) : new Float32Array(length), sizes)
}

export function integerTensor(type: IntegerType, values: ArrayLike<number>, dims: readonly number[]): Tensor {
  return type === 'int64'
    ? new Tensor('int64', toInt64(values), dims)
    : new Tensor('int32', Int32Array.from(values), dims)
}

export function booleanTensor(value: boolean): Tensor {
  return new Tensor('bool', [value], [1])
}

/** Writes the low halves only, which is many times faster than making a BigInt of each value. None is negative. */
function toInt64(values: ArrayLike<number>): BigInt64Array {
  const wide = new BigInt64Array(values.length)
  const halves = new Int32Array(wide.buffer)
  for (let i = 0; i < values.length; i++) halves[2 * i] = values[i] as number
  return wide
}
