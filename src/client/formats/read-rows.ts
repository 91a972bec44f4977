import { open } from 'node:fs/promises'
import { readLines } from '../../common/read-lines.ts'
import { limits } from '../../protocol/primitives.ts'
import { parseExactly } from '../../protocol/json/exact-numbers.ts'
import { InputError } from '../errors.ts'
import { foreignFormat } from './unreadable-files.ts'
import {
  FORMATS,
  isBatchLine,
  isParquet,
  kindOf,
  packingOf,
  type FileKind,
  type Format,
} from './format-names.ts'
import { readBytes } from './read-bytes.ts'
import { readCsv } from './read-csv.ts'
import type { BadRow, Row } from './row.ts'

/** A file to be read. */
export interface InputFile {
  readonly path: string
  /** What messages call it. */
  readonly name: string
  readonly kind: FileKind
}

/** Bytes at the beginning by which a file is recognised. */
const HEAD = 4096

/**
 * Finds out what kind of file it is: by what the user says, then by its name, then by how it begins.
 *
 * @throws {InputError} if it is empty, or of a kind that is not read
 */
export async function openInput(path: string, name: string, format: Format | undefined): Promise<InputFile> {
  const raw = await readHead(path)
  if (raw.length === 0) throw new InputError(`${name} is empty`)
  const named = kindOf(name)
  const packing = packingOf(raw)
  const head = packing ? await unpackedHead(path, name, packing) : raw
  const wanted = format ?? named.format
  if (isParquet(head) && (packing || (wanted ?? 'parquet') !== 'parquet')) {
    throw new InputError(
      packing
        ? `${name} is a Parquet file that was compressed as a whole: unpack it first, Parquet compresses by itself`
        : `${name} is a Parquet file: give it a name that ends in .parquet, or say --format parquet`,
    )
  }
  if (!isParquet(head) && wanted === 'parquet') throw new InputError(`${name} is not a Parquet file`)
  if (wanted === undefined && !isParquet(head) && !/^\ufeff?\s*[{"[]/.test(head.toString()))
    throw new InputError(
      `neither its name nor its beginning says what ${name} is: say it with --format, ${FORMATS.join(', ')}`,
    )
  const found = wanted ?? (isParquet(head) ? 'parquet' : 'jsonl')
  const foreign = foreignFormat(head, found)
  if (foreign) throw new InputError(`${name} is ${foreign.what}: ${foreign.advice.replace('FILE', name)}`)
  const isBatch = format === undefined && found === 'jsonl' && isBatchLine(head.toString())
  return { path, name, kind: { format: isBatch ? 'openai' : found, packing } }
}

async function readHead(path: string): Promise<Buffer> {
  await using file = await open(path)
  const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD), 0, HEAD, 0)
  return buffer.subarray(0, bytesRead)
}

async function unpackedHead(path: string, name: string, packing: FileKind['packing']): Promise<Buffer> {
  for await (const chunk of readBytes(path, name, packing)) return chunk.subarray(0, HEAD)
  return Buffer.alloc(0)
}

/** The rows of a file, in order, in bounded memory. @throws {InputError} for a file that cannot be read on */
export function readRows({ path, name, kind }: InputFile): AsyncIterable<Row | BadRow> {
  const { format, packing } = kind
  if (format === 'parquet') return parquetRows(path, name)
  const bytes = readBytes(path, name, packing)
  if (format === 'csv') return readCsv(bytes, name, ',')
  if (format === 'tsv') return readCsv(bytes, name, '\t')
  return readTextLines(bytes, format === 'text' ? (text) => text : parse)
}

/** Parquet's code is large, and most runs do without: it is read when there is such a file. */
const loadParquet = () => import('./read-parquet.ts')

async function* parquetRows(path: string, name: string): AsyncGenerator<Row> {
  const { readParquet } = await loadParquet()
  yield* readParquet(path, name)
}

/** Types that a file states for its columns, by which they are written again. */
export async function statedTypes({ path, name, kind }: InputFile): Promise<ReadonlyMap<string, string>> {
  return kind.format === 'parquet' ? await (await loadParquet()).columnTypes(path, name) : new Map()
}

async function* readTextLines(
  source: AsyncIterable<Buffer>,
  toValue: (text: string) => unknown,
): AsyncGenerator<Row | BadRow> {
  for await (const { number, bytes } of readLines(source, limits.value)) {
    const place = `line ${number}`
    try {
      if (bytes.length > limits.value) throw new Error(`is longer than ${limits.value} bytes`)
      const text = decode(number === 1 ? withoutMark(bytes) : bytes)
      if (text.trim() !== '') yield { number, place, value: toValue(text.replace(/\r$/, '')) }
    } catch (error) {
      yield { place, reason: (error as Error).message }
    }
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const MARK = Buffer.from('\ufeff')

/** Without the mark by which some programs say that a file is UTF-8. */
const withoutMark = (bytes: Buffer) => (bytes.subarray(0, 3).equals(MARK) ? bytes.subarray(3) : bytes)

function decode(bytes: Buffer): string {
  try {
    return utf8.decode(bytes)
  } catch {
    throw new Error('is not UTF-8')
  }
}

function parse(text: string): unknown {
  try {
    return parseExactly(text)
  } catch (error) {
    // The parser counts lines of its own, all of them 1.
    const reason = (error as Error).message.replace(/ \(line 1 column \d+\)$/, '')
    throw new Error(`is not JSON: ${reason}`, { cause: error })
  }
}
