import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  parseTraceparent,
  taskTraceparent,
  Traceparent,
  traceparentOf,
} from '../../src/protocol/trace-context.ts'

const hex = (digits: number) =>
  fc.stringMatching(new RegExp(`^[0-9a-f]{${digits}}$`)).filter((text) => !/^0+$/.test(text))
const trace = fc.record(
  { traceId: hex(32), spanId: hex(16), flags: fc.constantFrom('00', '01') },
  { noNullPrototype: true },
)
const task = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER - 1 })

test('a traceparent is read as it was written', () => {
  fc.assert(fc.property(trace, (each) => assert.deepEqual(parseTraceparent(traceparentOf(each)), each)))
})

test('what is no traceparent is none, and a later version is read as far as this one goes', () => {
  const good = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
  const bad = [
    ...[
      '',
      'x',
      `ff${good.slice(2)}`,
      good.toUpperCase(),
      good.slice(1),
      `00-${'0'.repeat(32)}${good.slice(35)}`,
    ],
    `00-${'a'.repeat(32)}-${'0'.repeat(16)}-01`,
  ]
  for (const text of [undefined, ...bad]) assert.equal(parseTraceparent(text), undefined)
  assert.equal(parseTraceparent(`01${good.slice(2)}-more`)?.spanId, 'b'.repeat(16))
})

test('each task of a job has a span of its own in the job’s trace, which is not the job’s', () => {
  fc.assert(
    fc.property(trace, task, task, (job, one, other) => {
      fc.pre(one !== other)
      const [first, second] = [one, other].map((number) => taskTraceparent(traceparentOf(job), number)!)
      assert.ok(Traceparent.safeParse(first).success)
      assert.equal(parseTraceparent(first)!.traceId, job.traceId)
      assert.equal(new Set([first, second, traceparentOf(job)]).size, 3)
    }),
  )
})

test('a task of a job without a trace has none', () => {
  assert.equal(taskTraceparent(undefined, 1), undefined)
  assert.equal(taskTraceparent('', 1), undefined)
})
