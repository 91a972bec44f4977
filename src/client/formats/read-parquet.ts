import { isUtf8 } from 'node:buffer'
import { asyncBufferFromFile, parquetMetadataAsync, parquetRead, type FileMetaData } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { InputError } from '../errors.ts'
import type { Row } from './row.ts'

/** So many rows are made objects at once. */
const SLICE = 1000

/**
 * The rows of a Parquet file. One row group is in memory at a time. Dates are texts as ISO 8601 has them, bytes that are no
 * UTF-8 are base64, and what
 * JSON has no number for is null.
 *
 * @throws {InputError} if it is none, or damaged
 */
export async function* readParquet(path: string, name: string): AsyncGenerator<Row> {
  const file = await asyncBufferFromFile(path)
  const metadata = await readMetadata(file, name)
  const columns = columnsOf(metadata, name)
  let first = 0
  for (const group of metadata.row_groups) {
    const end = first + Number(group.num_rows)
    const data = await readGroup(first, end)
    for (let at = 0; at < end - first; at += SLICE) {
      const last = Math.min(at + SLICE, end - first)
      for (let i = at; i < last; i++) {
        const number = first + i + 1
        const fields = columns.map((column) => [column, toJson(data.get(column)?.[i])] as const)
        yield { number, place: `row ${number}`, value: Object.fromEntries(fields) }
      }
    }
    first = end
  }

  async function readGroup(rowStart: number, rowEnd: number): Promise<Map<string, unknown[]>> {
    const data = new Map<string, unknown[]>()
    try {
      await parquetRead({
        file,
        metadata,
        compressors,
        utf8: false,
        rowStart,
        rowEnd,
        onChunk: ({ columnName, columnData, rowStart: at }) => {
          let column = data.get(columnName)
          if (!column) data.set(columnName, (column = new Array<unknown>(rowEnd - rowStart)))
          for (let i = Math.max(0, rowStart - at); i < columnData.length && at + i < rowEnd; i++)
            column[at - rowStart + i] = columnData[i] as unknown
        },
      })
    } catch (error) {
      throw new InputError(
        `${name}: rows ${rowStart + 1} to ${rowEnd} cannot be read: ${(error as Error).message}`,
      )
    }
    return data
  }
}

async function readMetadata(
  file: Awaited<ReturnType<typeof asyncBufferFromFile>>,
  name: string,
): Promise<FileMetaData> {
  try {
    return await parquetMetadataAsync(file)
  } catch (error) {
    throw new InputError(`${name} is not a whole Parquet file, perhaps cut off: ${(error as Error).message}`)
  }
}

/** Names of the columns: those below the root of the schema. */
function columnsOf({ schema }: FileMetaData, name: string): string[] {
  const columns = topLevel(schema).map((element) => element.name)
  const twice = columns.find((column, i) => columns.indexOf(column) !== i)
  if (twice !== undefined) throw new InputError(`${name} has two columns "${twice}": rename one of them`)
  return columns
}

type Element = FileMetaData['schema'][number]

/** The elements right below the root: a schema lists each one before those that it has below it. */
function topLevel(schema: readonly Element[]): Element[] {
  const found: Element[] = []
  const skip = (at: number): number => {
    let next = at + 1
    for (let below = schema[at]?.num_children ?? 0; below > 0; below--) next = skip(next)
    return next
  }
  for (let at = 1; at < schema.length; at = skip(at)) found.push(schema[at]!)
  return found
}

/** Columns whose types are known to the writer, with those types. */
export async function columnTypes(path: string, name: string): Promise<ReadonlyMap<string, string>> {
  const { schema } = await readMetadata(await asyncBufferFromFile(path), name)
  return new Map(
    topLevel(schema).flatMap((element) => {
      const type = typeOf(element)
      return type === undefined ? [] : [[element.name, type] as const]
    }),
  )
}

function typeOf({ type, converted_type, logical_type, repetition_type }: Element): string | undefined {
  if (repetition_type === 'REPEATED') return undefined
  if (converted_type === 'UTF8' || logical_type?.type === 'STRING') return 'STRING'
  if (logical_type?.type === 'TIMESTAMP' || converted_type?.startsWith('TIMESTAMP')) return 'TIMESTAMP'
  const isPlain = converted_type === undefined || /^U?INT_/.test(converted_type)
  if (!isPlain || type === undefined) return undefined
  return ['BOOLEAN', 'INT32', 'INT64', 'FLOAT', 'DOUBLE'].includes(type) ? type : undefined
}

function toJson(value: unknown): unknown {
  if (value === undefined || value === null) return null
  if (typeof value === 'number') return Number.isFinite(value) ? value : null
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
  if (value instanceof Uint8Array) return Buffer.from(value).toString(isUtf8(value) ? 'utf8' : 'base64')
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<unknown>, toJson)
  if (Array.isArray(value)) return value.map(toJson)
  if (typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toJson(item)]))
}
