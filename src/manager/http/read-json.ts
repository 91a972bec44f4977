import { isUtf8 } from 'node:buffer'
import { JsonText } from '../../protocol/json/json-text.ts'
import { limits } from '../../protocol/limits.ts'

/** Where values are that are kept as text: keys from the outside in, `*` for each element of an array. */
export type KeptPath = readonly [string, ...string[]]

/** The text is not JSON, or more than is taken. */
export class JsonTextError extends Error {
  override name = 'JsonTextError'
}

export interface ReadOptions {
  /** Values at this path come as {@link JsonText}. */
  keep?: KeptPath | undefined
  /** Most values, one that is kept being one: each costs far more memory and time than its bytes. Default {@link limits.values}. */
  maxValues?: number
}

/** Between so many bytes others have their turn. */
const SLICE = 1 << 18
/** Nesting around a value that is kept. */
const ENVELOPE = 8

const [TAB, NEWLINE, RETURN, SPACE, QUOTE, PLUS, COMMA, MINUS, DOT] = [9, 10, 13, 32, 34, 43, 44, 45, 46]
const [ZERO, NINE, COLON, OPEN_ARRAY, BACKSLASH, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT] = [
  48, 57, 58, 91, 92, 93, 123, 125,
]
const ASCII = (text: string) => [...text].map((character) => character.charCodeAt(0))
const LITERALS = [ASCII('true'), ASCII('false'), ASCII('null')]
const ESCAPED = new Set(ASCII('"\\/bfnrt'))
const [HEX, U, E, E_UPPER] = [new Set(ASCII('0123456789abcdefABCDEF')), ...ASCII('ueE')] as [
  Set<number>,
  number,
  number,
  number,
]

/** What may come next in the text. */
type Expected = 'value' | 'element or end' | 'key' | 'key or end' | 'colon' | 'comma or end' | 'end of text'

/**
 * Reads JSON text (UTF-8), in steps: the caller can do other things in between. What is to be kept as text
 * is checked, and not parsed. White space in it is left out. Bytes are moved within `bytes`.
 * @throws JsonTextError
 */
export function* readJson(
  bytes: Buffer,
  options: ReadOptions = {},
): Generator<undefined, unknown, undefined> {
  const { keep, maxValues = limits.values } = options
  if (!isUtf8(bytes)) throw notJson(0)
  const scan = new Scan(bytes, keep, maxValues)
  for (let until = SLICE; scan.advance(until); until += SLICE) yield
  const text = scan.skeleton()
  const value: unknown = JSON.parse(text)
  if (!keep) return value
  const kept = scan.kept.values()
  const whole = place(value, keep, 0, kept)
  if (!kept.next().done) throw new JsonTextError(`the body says ${keep.join('.')} twice`)
  return whole
}

/** Puts the texts where the scan took them out. */
function place(value: unknown, path: KeptPath, depth: number, kept: Iterator<JsonText>): unknown {
  const key = path[depth]
  if (key === undefined) return kept.next().value
  if (typeof value !== 'object' || value === null || Array.isArray(value) !== (key === '*')) return value
  if (Array.isArray(value))
    for (const [i, each] of value.entries()) value[i] = place(each, path, depth + 1, kept)
  else if (Object.hasOwn(value, key)) {
    const object = value as Record<string, unknown>
    object[key] = place(object[key], path, depth + 1, kept)
  }
  return value
}

const notJson = (at: number) => new JsonTextError(`the body is not JSON (byte ${at})`)

/** One pass over the text: checks all of it, and tells what is to be kept from what is to be parsed. */
class Scan {
  readonly kept: JsonText[] = []
  readonly #bytes: Buffer
  readonly #path: readonly string[]
  readonly #maxValues: number
  /** Of what is parsed, the text with 0 in place of each value that is kept: bytes that are in place, before `#at`. */
  #moved = 0
  /** What is behind what is in place begins here. */
  #from = 0
  #at = 0
  #expected: Expected = 'value'
  /** For each array and object that is open whether it is an object, and whether it lies on the path. */
  readonly #isObject: boolean[] = []
  readonly #isOnPath: boolean[] = []
  /** The value to come lies on the path. */
  #follows = true
  #values = 0
  /** Of the value that is being kept: where it begins, where its next byte goes, and the nesting around it; -1 for none. */
  #start = -1
  #end = -1
  #around = 0

  constructor(bytes: Buffer, path: readonly string[] | undefined, maxValues: number) {
    this.#bytes = bytes
    this.#path = path ?? []
    this.#maxValues = maxValues
  }

  /** Reads on, to about there. Returns whether there is more. */
  advance(until: number): boolean {
    const bytes = this.#bytes
    while (this.#at < bytes.length) {
      if (this.#at >= until) return true
      const byte = bytes[this.#at]!
      if (byte === SPACE || byte === NEWLINE || byte === RETURN || byte === TAB) this.#at++
      else this.#token(byte)
    }
    if (this.#expected !== 'end of text') throw notJson(this.#at)
    return false
  }

  /** The text to parse. */
  skeleton(): string {
    this.#move(this.#bytes.length)
    return this.#bytes.toString('utf8', 0, this.#moved)
  }

  #token(byte: number): void {
    const expected = this.#expected
    if (expected === 'value' || expected === 'element or end') {
      if (byte === CLOSE_ARRAY && expected === 'element or end') this.#close(false)
      else this.#value(byte)
    } else if (expected === 'key' || expected === 'key or end') {
      if (byte === QUOTE) this.#key()
      else if (byte === CLOSE_OBJECT && expected === 'key or end') this.#close(true)
      else throw notJson(this.#at)
    } else if (expected === 'colon' && byte === COLON) {
      this.#take(this.#at + 1)
      this.#expected = 'value'
    } else if (expected === 'comma or end' && byte === COMMA) {
      this.#take(this.#at + 1)
      this.#expected = this.#isObject[this.#isObject.length - 1] ? 'key' : 'value'
    } else if (expected === 'comma or end' && (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT)) {
      this.#close(byte === CLOSE_OBJECT)
    } else throw notJson(this.#at)
  }

  /** Goes on behind a token; one that is kept closes the gap that white space left before it. */
  #take(end: number): void {
    if (this.#start >= 0) {
      if (this.#end !== this.#at) this.#bytes.copyWithin(this.#end, this.#at, end)
      this.#end += end - this.#at
    }
    this.#at = end
  }

  #key(): void {
    const from = this.#at
    this.#take(endOfString(this.#bytes, from))
    const depth = this.#isObject.length
    this.#follows =
      this.#start < 0 && this.#isOnPath[depth - 1]! && this.#isKey(from, this.#at, this.#path[depth - 1])
    this.#expected = 'colon'
  }

  #isKey(from: number, end: number, key: string | undefined): boolean {
    if (key === undefined || end - from > 100) return false
    return JSON.parse(this.#bytes.toString('utf8', from, end)) === key
  }

  #value(byte: number): void {
    const depth = this.#isObject.length
    if (this.#start < 0) {
      if (++this.#values > this.#maxValues)
        throw new JsonTextError(`the body holds more than ${this.#maxValues} values: send it in parts`)
      if (this.#follows && depth > 0 && depth === this.#path.length) this.#beginKept()
    }
    if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) this.#open(byte === OPEN_OBJECT)
    else {
      this.#take(endOfScalar(this.#bytes, this.#at, byte))
      this.#ended()
    }
  }

  #open(isObject: boolean): void {
    const max = this.#start < 0 ? limits.depth + ENVELOPE : limits.depth + this.#around
    if (this.#isObject.length >= max) {
      throw new JsonTextError(`${this.#what()} nests arrays and objects more than ${limits.depth} deep`)
    }
    this.#isObject.push(isObject)
    // Elements of an array have one path, so what is true of the first is true of all.
    const isOnPath =
      this.#start < 0 && this.#follows && isObject !== (this.#path[this.#isObject.length - 1] === '*')
    this.#isOnPath.push(isOnPath)
    this.#follows = isOnPath
    this.#take(this.#at + 1)
    this.#expected = isObject ? 'key or end' : 'element or end'
  }

  #close(isObject: boolean): void {
    if (this.#isObject.pop() !== isObject) throw notJson(this.#at)
    this.#isOnPath.pop()
    this.#take(this.#at + 1)
    this.#ended()
  }

  #ended(): void {
    const depth = this.#isObject.length
    if (this.#start >= 0 && depth === this.#around) this.#endKept()
    else if (this.#start >= 0 && this.#end - this.#start > limits.value) throw this.#tooLong()
    this.#follows = this.#start < 0 && (this.#isOnPath[depth - 1] ?? false)
    this.#expected = depth === 0 ? 'end of text' : 'comma or end'
  }

  #move(end: number): void {
    if (this.#moved !== this.#from) this.#bytes.copyWithin(this.#moved, this.#from, end)
    this.#moved += end - this.#from
  }

  #beginKept(): void {
    this.#start = this.#end = this.#at
    this.#around = this.#isObject.length
    this.#move(this.#at)
  }

  #endKept(): void {
    if (this.#end - this.#start > limits.value) throw this.#tooLong()
    this.kept.push(new JsonText(this.#bytes.toString('utf8', this.#start, this.#end)))
    this.#bytes[this.#moved++] = ZERO
    this.#from = this.#at
    this.#start = -1
  }

  #what(): string {
    return this.#start < 0 ? 'the body' : this.#path.join('.').replace('*', String(this.kept.length))
  }

  #tooLong(): JsonTextError {
    return new JsonTextError(`${this.#what()} is longer than ${limits.value} bytes of JSON`)
  }
}

/** Where the number, string or literal ends that begins at `from` with `first`. */
function endOfScalar(bytes: Buffer, from: number, first: number): number {
  if (first === QUOTE) return endOfString(bytes, from)
  if (first === MINUS || isDigit(first)) return endOfNumber(bytes, from)
  const literal = LITERALS.find(([letter]) => letter === first)
  if (!literal?.every((letter, i) => bytes[from + i] === letter)) throw notJson(from)
  return from + literal.length
}

function endOfString(bytes: Buffer, from: number): number {
  for (let i = from + 1; i < bytes.length; i++) {
    const byte = bytes[i]!
    if (byte === QUOTE) return i + 1
    if (byte < SPACE) throw notJson(i)
    if (byte !== BACKSLASH) continue
    const escaped = bytes[++i]!
    if (escaped === U) {
      for (const end = i + 4; i < end;) if (!HEX.has(bytes[++i]!)) throw notJson(i)
    } else if (!ESCAPED.has(escaped)) throw notJson(i)
  }
  throw notJson(bytes.length)
}

const isDigit = (byte: number | undefined) => byte !== undefined && byte >= ZERO && byte <= NINE

function endOfNumber(bytes: Buffer, from: number): number {
  let i = from
  if (bytes[i] === MINUS) i++
  i = bytes[i] === ZERO ? i + 1 : endOfDigits(bytes, i)
  if (bytes[i] === DOT) i = endOfDigits(bytes, i + 1)
  if (bytes[i] === E || bytes[i] === E_UPPER) {
    i++
    if (bytes[i] === PLUS || bytes[i] === MINUS) i++
    i = endOfDigits(bytes, i)
  }
  return i
}

function endOfDigits(bytes: Buffer, from: number): number {
  let i = from
  while (isDigit(bytes[i])) i++
  if (i === from) throw notJson(i)
  return i
}
