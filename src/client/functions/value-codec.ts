import { stringify, unflatten } from 'devalue'
import { refOf } from '../../blobs/blob-folder.ts'
import type { BlobRef } from '../../protocol/blob.ts'
import type { JsonValue } from '../../protocol/primitives.ts'
import { limits } from '../../protocol/limits.ts'

/*
 * Arguments and results as they travel: everything devalue knows (JSON, undefined, NaN, bigint, Date, Map, Set, RegExp,
 * URL, typed arrays, repeated and circular references), and Node's Buffers. What is large in them, or large as a whole,
 * becomes a blob, to which the rest refers. This module goes along with every user module, so it imports little.
 */

/** A large part of a value. It has no bytes here if it was packed elsewhere. */
export interface Part {
  ref: BlobRef
  bytes?: Uint8Array
}

/** A value ready to travel. */
export interface PackedValue {
  json: JsonValue
  /** Large parts, each once. */
  parts: Part[]
}

/** A value that was packed elsewhere, as a part of one that is packed here: it travels on without being looked at. */
export class EncodedValue {
  readonly json: JsonValue
  readonly blobs: readonly BlobRef[]

  constructor(json: JsonValue, blobs: readonly BlobRef[]) {
    this.json = json
    this.blobs = blobs
  }
}

/** A value that is JSON in a blob. */
class Apart {
  readonly ref: BlobRef

  constructor(ref: BlobRef) {
    this.ref = ref
  }
}

/** Parts beyond these stay where they are. A few more may be needed for what is then large as a whole. */
const MOST_PARTS = limits.blobs / 2

/** A view of a part of its memory is copied out of it: the rest may be large, and must not travel. */
const part = (value: unknown): unknown =>
  ArrayBuffer.isView(value) && value.byteLength !== value.buffer.byteLength && copyOf(value)

function copyOf(view: ArrayBufferView): unknown {
  const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength)
  return new (view.constructor as new (bytes: ArrayBufferLike) => ArrayBufferView)(bytes)
}

const inlineReducers = {
  Buffer: (value: unknown) => Buffer.isBuffer(value) && [value.toString('base64')],
  Part: part,
}
const inlineRevivers = {
  Buffer: ([text]: [string]) => Buffer.from(text, 'base64'),
  Part: (value: unknown) => value,
}

/**
 * A value as JSON, whatever its size.
 *
 * @throws TypeError that names the place of what cannot travel: a function, a symbol, an instance of a user's class
 */
export function encode(value: unknown): JsonValue {
  return JSON.parse(toText(value, inlineReducers)) as JsonValue
}

/** The value that {@link encode} made JSON of. */
export function decode(json: JsonValue): unknown {
  return unflatten(json as number | unknown[], inlineRevivers)
}

/**
 * Packs a value: what is large becomes blobs. The items of an array are looked at one by one, so that one that is in several
 * arrays is the same blob for all.
 *
 * @throws TypeError as `encode` does, RangeError for a part that is too large to travel
 */
export function pack(value: unknown): PackedValue {
  const parts = new Map<string, Part>()
  const add = (part: Part): Part => {
    const { sha256, bytes } = part.ref
    if (bytes > limits.blob) {
      const most = limits.blob >> 20
      throw new RangeError(
        `a value of ${bytes >> 20} MiB is more than the ${most} MiB that can travel: give it in pieces, or in a bundle`,
      )
    }
    if (!parts.get(sha256)?.bytes) parts.set(sha256, part)
    return part
  }
  const large = (kind: string, bytes: Uint8Array) => {
    const { ref } = add({ ref: refOf(bytes), bytes })
    return [kind, ref.sha256, ref.bytes]
  }
  const reducers = {
    Parcel(value: unknown) {
      if (!(value instanceof EncodedValue)) return false
      for (const ref of value.blobs) add({ ref })
      return [value.json]
    },
    Large(value: unknown) {
      if (value instanceof Apart) return ['value', value.ref.sha256, value.ref.bytes]
      if (parts.size >= MOST_PARTS) return false
      if (typeof value === 'string') {
        return value.length >= limits.inline && value.isWellFormed() && large('text', Buffer.from(value))
      }
      if (value instanceof ArrayBuffer) {
        return value.byteLength >= limits.inline && large('ArrayBuffer', new Uint8Array(value))
      }
      if (!ArrayBuffer.isView(value) || value.byteLength < limits.inline) return false
      const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
      return large(Buffer.isBuffer(value) ? 'Buffer' : kindOf(value), bytes)
    },
    ...inlineReducers,
  }
  const apart = (value: unknown): unknown => {
    const text = toText(value, reducers)
    if (text.length < limits.inline) return value
    const bytes = Buffer.from(text)
    return new Apart(add({ ref: refOf(bytes), bytes }).ref)
  }
  let text = toText(value, reducers)
  if (text.length >= limits.inline && Array.isArray(value)) text = toText(value.map(apart), reducers)
  if (text.length >= limits.inline) text = toText(apart(value), reducers)
  return { json: JSON.parse(text) as JsonValue, parts: [...parts.values()] }
}

/**
 * The value that {@link pack} made JSON and blobs of.
 *
 * @param read gives the bytes of a blob, to keep
 */
export function unpack(json: JsonValue, read: (ref: BlobRef) => Uint8Array): unknown {
  const taken = new Set<string>()
  /** No two parts of the value share memory. */
  const take = (sha256: string, bytes: number): Uint8Array<ArrayBuffer> => {
    const found = read({ sha256, bytes })
    const isWhole = found.byteOffset === 0 && found.byteLength === found.buffer.byteLength
    const isOwn = isWhole && !taken.has(sha256)
    taken.add(sha256)
    return isOwn ? new Uint8Array(found.buffer as ArrayBuffer) : new Uint8Array(found)
  }
  const revivers = {
    ...inlineRevivers,
    Parcel: ([json]: [JsonValue]) => revive(json),
    Large([kind, sha256, size]: [string, string, number]) {
      const bytes = take(sha256, size)
      if (kind === 'text') return Buffer.from(bytes.buffer).toString()
      if (kind === 'value') return revive(JSON.parse(Buffer.from(bytes.buffer).toString()) as JsonValue)
      return kind === 'Buffer' ? Buffer.from(bytes.buffer) : viewOf(kind, bytes.buffer)
    },
  }
  const revive = (json: JsonValue): unknown => unflatten(json as number | unknown[], revivers)
  return revive(json)
}

const VIEWS = {
  DataView,
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Float16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
}

/** The name of its type, also if it is of a class that extends that. */
const kindOf = (value: unknown) => Object.prototype.toString.call(value).slice(8, -1)

function viewOf(kind: string, bytes: ArrayBuffer): unknown {
  if (kind === 'ArrayBuffer') return bytes
  if (!Object.hasOwn(VIEWS, kind)) throw new TypeError(`there is no ${kind} here: client and worker differ`)
  return new (VIEWS[kind as keyof typeof VIEWS] as new (bytes: ArrayBuffer) => ArrayBufferView)(bytes)
}

function toText(value: unknown, reducers: Record<string, (value: unknown) => unknown>): string {
  try {
    return stringify(value, reducers)
  } catch (error) {
    if (error instanceof RangeError) throw error
    throw new TypeError(describe(error as Error & { path?: string }), { cause: error })
  }
}

function describe({ message, path }: Error & { path?: string }): string {
  const where = path ? ` at value${path}` : ''
  return `${message}${where}: give plain objects, arrays, typed arrays, Buffers, dates, maps, sets and primitives`
}
