import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { PilotRecord } from '../../../src/core/interfaces/pilot-registry.ts'
import { createSiteHealth } from '../../../src/factory/reconcile/site-health.ts'

const record = (more: Partial<PilotRecord> = {}): PilotRecord => ({
  pilot: 'p1',
  createdAt: 1_000,
  submittedAt: 1_100,
  ...more,
})
const failure = { reason: 'no scratch disk', failure: true, node: 'n1' }
const working = { id: 'w1', node: 'n1', state: 'active' as const, leased: 1, tasksDone: 3, tasksFailed: 0 }

describe('what a site has taught', () => {
  test('a pilot that failed speaks against it, until a later one works', () => {
    const site = createSiteHealth()
    assert.ok(site.ended(record(), failure, false, 2_000))
    assert.deepEqual([site.health.failures, site.health.reason], [1, 'no scratch disk'])
    site.seen(record({ pilot: 'p2', registeredAt: 3_000, worker: working }), 3_001)
    assert.equal(site.health.failures, 0)
  })

  test('a pilot that was asked to leave, or that all are being removed with, says nothing', () => {
    const site = createSiteHealth()
    site.askedToLeave('p1')
    assert.ok(!site.ended(record(), failure, false, 2_000))
    assert.ok(!site.ended(record({ pilot: 'p2' }), failure, true, 2_000))
    assert.ok(!site.ended(record({ pilot: 'p3', blackHole: 'n1' }), failure, false, 2_000))
    assert.equal(site.health.failures, 0)
    assert.ok(site.ended(record(), failure, false, 2_000), 'it was asked once')
  })

  test('a worker that has left is remembered until its pilot has ended', () => {
    const site = createSiteHealth()
    site.seen(record({ registeredAt: 1_500, worker: working }), 1_600)
    assert.equal(site.recall(record()).worker?.tasksDone, 3)
    site.ended(record(), { reason: 'ended', failure: false }, false, 2_000)
    assert.equal(site.recall(record()).worker, undefined)
  })
})
