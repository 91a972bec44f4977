import { basename } from 'node:path'

/** What rows can be read from and written to. `openai` is the batch file of the OpenAI API, which is JSONL, too. */
export const FORMATS = ['jsonl', 'openai', 'csv', 'tsv', 'parquet', 'text'] as const
export type Format = (typeof FORMATS)[number]

/** What a whole file may be compressed with. */
export type Packing = 'gzip' | 'zstd'

/** How a file is written. */
export interface FileKind {
  readonly format: Format
  readonly packing: Packing | undefined
}

const PACKINGS: Record<string, Packing> = { gz: 'gzip', gzip: 'gzip', zst: 'zstd', zstd: 'zstd' }
const EXTENSIONS: Record<string, Format> = {
  jsonl: 'jsonl',
  ndjson: 'jsonl',
  json: 'jsonl',
  csv: 'csv',
  tsv: 'tsv',
  tab: 'tsv',
  parquet: 'parquet',
  pq: 'parquet',
  txt: 'text',
  text: 'text',
}

/** What a file's name says of its kind: nothing, for an extension that is none of these. */
export function kindOf(path: string): { format: Format | undefined; packing: Packing | undefined } {
  const parts = basename(path).toLowerCase().split('.').slice(1)
  const last = parts.at(-1) ?? ''
  const packing = Object.hasOwn(PACKINGS, last) ? PACKINGS[last] : undefined
  const name = parts.at(packing ? -2 : -1) ?? ''
  return { format: Object.hasOwn(EXTENSIONS, name) ? EXTENSIONS[name] : undefined, packing }
}

/** The extensions of a path, such as `.csv.gz`, as far as they say what kind of file it is; the rest comes first. */
function splitExtension(path: string): [stem: string, extension: string] {
  const { format, packing } = kindOf(path)
  const parts = path.split('.')
  const count = Number(format !== undefined) + Number(packing !== undefined)
  const extension = parts.slice(parts.length - count).map((part) => `.${part}`)
  return [parts.slice(0, parts.length - count).join('.'), extension.join('')]
}

/** The path of a file beside another one, of the same kind: `out.csv.gz` and `errors` make `out.errors.csv.gz`. */
export function besides(path: string, word: string): string {
  const [stem, extension] = splitExtension(path)
  return `${stem}.${word}${extension}`
}

/** The kinds of packed files, by how they begin. */
export function packingOf(head: Uint8Array): Packing | undefined {
  const begins = (...bytes: number[]) => bytes.every((byte, i) => head[i] === byte)
  if (begins(0x1f, 0x8b)) return 'gzip'
  return begins(0x28, 0xb5, 0x2f, 0xfd) ? 'zstd' : undefined
}

/** Whether a file that begins so is Parquet. */
export const isParquet = (head: Uint8Array) => Buffer.from(head.subarray(0, 4)).toString() === 'PAR1'

/** Whether a file's first line is a request of an OpenAI batch. */
export function isBatchLine(line: string): boolean {
  return ['"custom_id"', '"method"', '"url"', '"body"'].every((key) => line.includes(key))
}
