import { stringify, unflatten } from 'devalue'
import type { JsonValue } from '../../protocol/common.ts'

/*
 * Arguments and results as they travel: everything devalue knows (JSON, undefined, NaN, bigint, Date, Map, Set, RegExp,
 * URL, typed arrays, repeated and circular references), and Node's Buffers. This module goes along with every user module, so
 * it imports nothing else.
 */

/** A view of a part of its memory is copied out of it: the rest may be large, and is nobody's business. */
const part = (value: unknown): unknown =>
  ArrayBuffer.isView(value) && value.byteLength !== value.buffer.byteLength && copyOf(value)

function copyOf(view: ArrayBufferView): unknown {
  const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength)
  return new (view.constructor as new (bytes: ArrayBufferLike) => ArrayBufferView)(bytes)
}

const reducers = {
  Buffer: (value: unknown) => Buffer.isBuffer(value) && [value.toString('base64')],
  Part: part,
}
const revivers = {
  Buffer: ([text]: [string]) => Buffer.from(text, 'base64'),
  Part: (value: unknown) => value,
}

/**
 * A value as JSON.
 *
 * @throws TypeError that names the place of what cannot travel: a function, a symbol, an instance of a user's class
 */
export function encode(value: unknown): JsonValue {
  let text: string
  try {
    text = stringify(value, reducers)
  } catch (error) {
    throw new TypeError(describe(error as Error & { path?: string }), { cause: error })
  }
  return JSON.parse(text) as JsonValue
}

function describe({ message, path }: Error & { path?: string }): string {
  const where = path ? ` at value${path}` : ''
  return `${message}${where}: give plain objects, arrays, typed arrays, Buffers, dates, maps, sets and primitives`
}

/** The value that {@link encode} made JSON of. */
export function decode(json: JsonValue): unknown {
  return unflatten(json as number | unknown[], revivers)
}
