import type { FileHandle } from 'node:fs/promises'

/*
 * Fields of protocol buffers: of messages in memory, and of files whose long fields are skipped. The encoding is described
 * at https://protobuf.dev/programming-guides/encoding/.
 */

/** Where a field lies: its tag and length, and its content. */
export interface Field {
  readonly number: number
  /** 0 for a whole number, 2 for what has a length; 1 and 5 for eight and four bytes. */
  readonly type: number
  readonly tag: number
  readonly start: number
  readonly end: number
  /** The value of a whole number; a length otherwise. */
  readonly value: number
}

/** Most bytes of a tag and a length. */
const HEAD = 20

/**
 * Fields of a message, in order.
 *
 * @throws {Error} when the bytes are no such message
 */
export function* fieldsOf(bytes: Uint8Array): Generator<Field> {
  for (let at = 0; at < bytes.length;) {
    const field = readField(bytes.subarray(at, at + HEAD), at, bytes.length)
    yield field
    at = field.end
  }
}

/** The content of a field of a message in memory. */
export function contentOf(bytes: Uint8Array, { start, end }: Field): Uint8Array {
  return bytes.subarray(start, end)
}

/** A field that is text. */
export function textOf(bytes: Uint8Array, field: Field): string {
  return Buffer.from(contentOf(bytes, field)).toString()
}

/** Whole numbers of a field: one, or all that are packed into it. `content` is the field's. */
export function numbersOf(content: Uint8Array, { type, value }: Field): number[] {
  if (type !== 2) return [value]
  const values: number[] = []
  for (let at = 0; at < content.length;) {
    const [one, length] = varint(content.subarray(at, at + HEAD), 0)
    values.push(one)
    at += length
  }
  return values
}

/** Reads parts of a file, a stretch at a time. */
export class FileWindow {
  readonly #file: FileHandle
  #window: Uint8Array = new Uint8Array(0)
  #from = 0

  constructor(file: FileHandle) {
    this.#file = file
  }

  /** Bytes of the file; they are overwritten by none that are read later. */
  async read(start: number, end: number): Promise<Uint8Array> {
    if (start < this.#from || end > this.#from + this.#window.length) {
      const length = Math.max(WINDOW, end - start)
      const { buffer, bytesRead } = await this.#file.read(Buffer.alloc(length), 0, length, start)
      this.#window = buffer.subarray(0, bytesRead)
      this.#from = start
    }
    return this.#window.subarray(start - this.#from, end - this.#from)
  }

  /** Fields of a message that lies in the file; of their contents nothing is read. */
  async *fields(start: number, end: number): AsyncGenerator<Field> {
    for (let at = start; at < end;) {
      const field = readField(await this.read(at, Math.min(end, at + HEAD)), at, end)
      yield field
      at = field.end
    }
  }
}

/** Bytes that are read of a file at a time. */
const WINDOW = 1 << 16

function readField(head: Uint8Array, at: number, limit: number): Field {
  const [tag, afterTag] = varint(head, 0)
  const number = Math.floor(tag / 8)
  const type = tag % 8
  const [value, afterValue] = type === 0 || type === 2 ? varint(head, afterTag) : [0, afterTag]
  const length = type === 0 ? 0 : type === 1 ? 8 : type === 5 ? 4 : type === 2 ? value : NaN
  const start = at + (type === 2 ? afterValue : afterTag)
  const end = type === 0 ? at + afterValue : start + length
  if (!(end <= limit)) throw new Error('it is no ONNX file, or cut off')
  return { number, type, tag: at, start, end, value }
}

/** A number of seven bits a byte, least first, and where it ends. Negative ones are of 64 bits. */
function varint(bytes: Uint8Array, at: number): [value: number, end: number] {
  let value = 0n
  for (let i = 0; i < 10; i++) {
    const byte = bytes[at + i]
    if (byte === undefined) break
    value |= BigInt(byte & 0x7f) << BigInt(7 * i)
    if (byte < 0x80) return [Number(BigInt.asIntN(64, value)), at + i + 1]
  }
  throw new Error('it is no ONNX file, or cut off')
}
