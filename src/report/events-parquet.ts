import { parquetWriteBuffer } from 'hyparquet-writer'
import type { FactoryEvent } from '../protocol/events.ts'

/**
 * A table of events as Parquet: one column for each field that any of them has, by name. Numbers are doubles, `time` is a
 * timestamp, what has parts is JSON text.
 */
export function eventsParquet(events: readonly FactoryEvent[]): Uint8Array {
  const rows = events.map((event): Record<string, unknown> => ({ ...event }))
  const names = [...new Set(['cursor', 'at', 'type', ...rows.flatMap((row) => Object.keys(row))])]
  const columns = names.map((name) => {
    const values = rows.map((row) => row[name])
    const isNumber = values.every((value) => value === undefined || typeof value === 'number')
    const type = isNumber ? ('DOUBLE' as const) : ('STRING' as const)
    return { name, type, nullable: true, data: values.map((value) => (isNumber ? value : textOf(value))) }
  })
  const time = {
    ...{ name: 'time', type: 'TIMESTAMP' as const, nullable: true },
    data: events.map(({ at }) => new Date(at)),
  }
  return new Uint8Array(parquetWriteBuffer({ columnData: [...columns, time] }))
}

const textOf = (value: unknown) =>
  value === undefined || typeof value === 'string' ? value : JSON.stringify(value)
