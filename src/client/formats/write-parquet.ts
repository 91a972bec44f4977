import { ByteWriter, ParquetWriter } from 'hyparquet-writer'
import { numberText, stringifyExactly } from '../../protocol/json/exact-numbers.ts'
import { cellText, type Columns, type ColumnType, type OutRow } from './table-columns.ts'
import type { ByteSink } from './write-bytes.ts'

type SchemaElement = ConstructorParameters<typeof ParquetWriter>[0]['schema'][number]

/** A row group has so many rows, or so many bytes as JSON, about: what has to be in memory at once. */
const GROUP_ROWS = 50_000
const GROUP_BYTES = 32 << 20

/**
 * Writes rows as Parquet, compressed with Snappy, a row group at a time.
 *
 * @param rows each with its length in bytes, about
 */
export async function writeParquet(
  sink: ByteSink,
  rows: AsyncIterable<{ row: OutRow; bytes: number }>,
  columns: Columns,
): Promise<void> {
  const types = [...columns.types()]
  const schema = [
    { name: 'root', num_children: types.length },
    ...types.flatMap(([name, type]) => elementsOf(name, type)),
  ]
  const writer = new ByteWriter()
  const parquet = new ParquetWriter({ writer, schema })
  const drain = async () => {
    await sink.write(Buffer.from(writer.getBytes()))
    writer.index = 0
  }
  let group = types.map((): unknown[] => [])
  let count = 0
  let size = 0
  const flush = async () => {
    if (count === 0) return
    const columnData = types.map(([name], i) => ({ name, data: group[i]! }))
    await parquet.write({ columnData, rowGroupSize: count })
    await drain()
    group = types.map(() => [])
    count = size = 0
  }
  for await (const { row, bytes } of rows) {
    for (const [i, value] of columns.values(row).entries()) group[i]!.push(convert(value, types[i]![1]))
    size += bytes
    if (++count >= GROUP_ROWS || size >= GROUP_BYTES) await flush()
  }
  await flush()
  await parquet.finish()
  await drain()
}

function elementsOf(name: string, type: ColumnType): SchemaElement[] {
  const optional = { name, repetition_type: 'OPTIONAL' } as const
  switch (type) {
    case 'STRING':
      return [{ ...optional, type: 'BYTE_ARRAY', converted_type: 'UTF8' }]
    case 'JSON':
      return [{ ...optional, type: 'BYTE_ARRAY', logical_type: { type: 'JSON' } }]
    case 'TIMESTAMP':
      return [{ ...optional, type: 'INT64', converted_type: 'TIMESTAMP_MILLIS' }]
    case 'LIST':
      return [
        { ...optional, num_children: 1, converted_type: 'LIST' },
        { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
        { name: 'element', repetition_type: 'OPTIONAL', type: 'DOUBLE' },
      ]
    default:
      return [{ ...optional, type }]
  }
}

/** A value as the writer takes it for a column of that type. */
function convert(value: unknown, type: ColumnType): unknown {
  if (value === null || value === undefined) return undefined
  switch (type) {
    case 'STRING':
      return cellText(value)
    case 'INT64':
      return BigInt(numberText(value) ?? (value as number | bigint | string))
    case 'INT32':
    case 'FLOAT':
    case 'DOUBLE':
      return Number(numberText(value) ?? value)
    case 'TIMESTAMP':
      return new Date(value as string)
    case 'JSON':
      // As bytes, since the writer would put JavaScript's own numbers in place of long ones.
      return new TextEncoder().encode(stringifyExactly(value))
    default:
      return value
  }
}
