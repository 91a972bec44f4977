import assert from 'node:assert/strict'
import { test } from 'node:test'
import { freeNow } from '../../../src/bundle/sources/free-now.ts'

test('bytes that are all of their buffer are freed, a part of one is left alone', () => {
  const whole = Buffer.alloc(70_000, 1)
  freeNow(whole)
  assert.equal(whole.length, 0)

  const part = Buffer.alloc(70_000, 1).subarray(1)
  freeNow(part)
  assert.equal(part.length, 69_999)
  assert.equal(part[0], 1)
  freeNow(Buffer.alloc(0))
})
