import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { Registry } from 'prom-client'
import { DurationHistogram } from '../../../../src/manager/services/metrics/duration-histogram.ts'
import { QueueWaits } from '../../../../src/manager/services/metrics/queue-waits.ts'

test('durations fall into the first bucket that is no smaller, and all of them into the last', async () => {
  const registry = new Registry()
  const durations = new DurationHistogram([0.1, 1])
  durations.showIn(registry, 'x_seconds', 'help')
  durations.add(100)
  durations.add(101, 3)
  durations.add(5_000)
  durations.add(-1)
  const text = await registry.metrics()
  const value = (line: string) => Number(new RegExp(`^${line} (.*)$`, 'm').exec(text)?.[1])
  assert.equal(value('x_seconds_bucket\\{le="0.1"\\}'), 2)
  assert.equal(value('x_seconds_bucket\\{le="1"\\}'), 5)
  assert.equal(value('x_seconds_bucket\\{le="\\+Inf"\\}'), 6)
  assert.equal(value('x_seconds_count'), 6)
  assert.ok(Math.abs(value('x_seconds_sum') - 5.403) < 1e-9)
  assert.match(text, /^# TYPE x_seconds histogram$/m)
})

test('each task has waited since the batch that it came with, however tasks are given out', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ size: fc.integer({ min: 1, max: 20 }), later: fc.nat(100) }), { minLength: 1 }),
      fc.infiniteStream(fc.nat()),
      (batches, picks) => {
        const waits = new QueueWaits()
        const addedAt: number[] = []
        let now = 0
        for (const { size, later } of batches) {
          now += later
          for (let i = 0; i < size; i++) addedAt.push(now)
          waits.added(addedAt.length, now)
        }
        const picked = [...picks.take(10)].map((pick) => pick % addedAt.length)
        const told: number[] = []
        waits.granted(picked, now, (ms, count) => told.push(...Array.from({ length: count }, () => ms)))
        assert.deepEqual(
          told,
          picked.map((task) => now - addedAt[task]!),
        )
      },
    ),
  )
})

test('a long life of many batches is remembered in bounded memory, the newest exactly', () => {
  const waits = new QueueWaits()
  for (let i = 1; i <= 100_000; i++) waits.added(i, i)
  waits.granted([99_999], 100_000, (ms) => assert.equal(ms, 0))
  let told = 0
  waits.granted([0], 100_000, (ms) => (told = ms))
  assert.ok(told > 50_000)
})
