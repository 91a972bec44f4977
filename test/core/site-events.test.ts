import assert from 'node:assert/strict'
import test from 'node:test'
import { siteChanges } from '../../src/core/site-events.ts'

const none = new Map<string, { name: string; paused?: string; retryAt?: number }>()
const seen = (paused?: string, retryAt?: number) =>
  new Map([
    ['s', { name: 's', ...(paused !== undefined && { paused }), ...(retryAt !== undefined && { retryAt }) }],
  ])

test('a site that stops to submit is told of with its reason, and with the time of the next attempt if there is one', () => {
  assert.deepEqual(siteChanges(none, [{ name: 's', paused: 'drained' }]), [
    { type: 'site-paused', site: 's', reason: 'drained' },
  ])
  assert.deepEqual(siteChanges(seen(), [{ name: 's', paused: 'failing', retryAt: 9 }]), [
    { type: 'site-backoff', site: 's', reason: 'failing', retryAt: 9 },
  ])
  assert.deepEqual(siteChanges(seen('failing', 9), [{ name: 's' }]), [{ type: 'site-resumed', site: 's' }])
})

test('a site that is as it was is not told of, also when it only waits longer', () => {
  assert.deepEqual(siteChanges(seen(), [{ name: 's' }]), [])
  assert.deepEqual(siteChanges(seen('drained'), [{ name: 's', paused: 'drained' }]), [])
  assert.deepEqual(siteChanges(seen('failing', 9), [{ name: 's', paused: 'failing', retryAt: 20 }]), [])
  assert.equal(siteChanges(seen('failing', 9), [{ name: 's', paused: 'failing' }]).length, 1)
})
