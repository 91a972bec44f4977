import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parquetReadObjects } from 'hyparquet'
import type { FactoryEvent } from '../../src/protocol/events.ts'
import { eventsParquet } from '../../src/report/events-parquet.ts'

test('events are read from Parquet as they were: numbers, times, texts, and parts as JSON', async () => {
  const events = [
    { cursor: 1, at: 1_700_000_000_123, type: 'a', job: 7, name: 'it’s' },
    { cursor: 2, at: 1_700_000_001_000, type: 'b', parts: { x: [1, 2] } },
  ] as unknown as FactoryEvent[]
  const bytes = eventsParquet(events)
  const rows = await parquetReadObjects({ file: bytes.buffer as ArrayBuffer })
  const time = (at: number) => new Date(at)
  const given = rows.map((row) =>
    Object.fromEntries(Object.entries(row).filter(([, value]) => value != null)),
  )
  assert.deepEqual(given, [
    { cursor: 1, at: 1_700_000_000_123, type: 'a', job: 7, name: 'it’s', time: time(1_700_000_000_123) },
    { cursor: 2, at: 1_700_000_001_000, type: 'b', parts: '{"x":[1,2]}', time: time(1_700_000_001_000) },
  ])
})
