import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { limits } from '../../../src/protocol/primitives.ts'
import type { Outcome } from '../../../src/protocol/task.ts'
import { fitOutcome } from '../../../src/pilot/tasks/outcome-size-limit.ts'

type Value = Extract<Outcome, { status: 'done' }>['value']

const done = (value: Value): Outcome => ({ status: 'done', value })

function nested(depth: number): Value {
  let value: Value = 1
  for (let i = 0; i < depth; i++) value = [value]
  return value
}

function errorOf(outcome: Outcome): string | undefined {
  const fit = fitOutcome(outcome).outcome
  return fit.status === 'error' ? fit.error.name : undefined
}

describe('an outcome on its way to the manager', () => {
  test('goes as it is, and is measured as the bytes that are sent', () => {
    const outcome = done({ label: 'naïve ☃' })
    assert.deepEqual(fitOutcome(outcome), { outcome, bytes: Buffer.byteLength(JSON.stringify(outcome)) })
    const error: Outcome = { status: 'error', error: { name: 'Error', message: 'é'.repeat(1000) } }
    assert.ok(fitOutcome(error).bytes > 2000)
  })

  test('is an error if its value is larger than the manager takes, in bytes', () => {
    assert.equal(errorOf(done('x'.repeat(limits.value))), 'ResultTooLarge')
    assert.equal(errorOf(done('☃'.repeat(limits.value / 2))), 'ResultTooLarge')
    assert.equal(errorOf(done('x'.repeat(limits.value - 100))), undefined)
  })

  test('is an error if its value is nested deeper than the manager takes, however deep', () => {
    assert.equal(errorOf(done(nested(limits.depth))), undefined)
    assert.equal(errorOf(done(nested(limits.depth + 1))), 'ResultTooDeep')
    assert.equal(errorOf(done(nested(1_000_000))), 'ResultTooDeep')
  })
})
