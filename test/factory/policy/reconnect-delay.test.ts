import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { reconnectDelay } from '../../../src/factory/policy/reconnect-delay.ts'

test('a host is tried again ever more rarely, at least every minute, and never at once', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5000 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (failures, chance) => {
        const delay = reconnectDelay(failures, false, chance)
        assert.ok(delay >= 500 && delay <= 60_000)
        assert.ok(reconnectDelay(failures + 1, false, chance) >= delay)
      },
    ),
  )
})

test('what has not failed before is tried at once', () => {
  assert.equal(reconnectDelay(0, false, 1), 0)
  assert.equal(reconnectDelay(0, true, 1), 0)
})

test('a host that does not let us in is left alone for longer, so that it does not lock the user out', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5000 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (failures, chance) => {
        assert.ok(reconnectDelay(failures, true, chance) >= 30_000)
      },
    ),
  )
  assert.equal(reconnectDelay(100, true, 1), 30 * 60_000)
})
