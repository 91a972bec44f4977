import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { shutdownOf, shutdownReason, type ShutdownSituation } from '../../../src/pilot/policy/shutdown.ts'

const fine: ShutdownSituation = { now: 10_000, evicted: false, drained: false, idleMs: 5_000, hasUse: true }

describe('a worker leaves', () => {
  test('not while there is no reason', () => {
    assert.equal(shutdownReason(fine), undefined)
    assert.equal(shutdownReason({ ...fine, lastMoment: 10_001, idleSince: 5_001 }), undefined)
  })

  test('when the batch system or the manager says so, the batch system first', () => {
    assert.equal(shutdownReason({ ...fine, drained: true }), 'drain')
    assert.equal(shutdownReason({ ...fine, drained: true, evicted: true }), 'eviction')
  })

  test('at its last moment, or before if nothing more can end in time', () => {
    assert.equal(shutdownReason({ ...fine, lastMoment: 10_000 }), 'walltime')
    assert.equal(shutdownReason({ ...fine, lastMoment: 12_000, hasUse: false, idleSince: 9_999 }), 'walltime')
    assert.equal(shutdownReason({ ...fine, lastMoment: 12_000, hasUse: false }), undefined, 'still busy')
  })

  test('when it has been idle for long', () => {
    assert.equal(shutdownReason({ ...fine, idleSince: 5_000 }), 'idle')
  })
})

describe('what runs may go on', () => {
  test('for half of the grace, and the worker is gone well before its end', () => {
    const shutdown = shutdownOf(undefined, { ...fine, evicted: true }, 10_000)
    assert.deepEqual(shutdown, { reason: 'eviction', stopAt: 15_000, goneAt: 18_000 })
  })

  test('to its end when it is drained, but not past the last moment', () => {
    assert.equal(shutdownOf(undefined, { ...fine, drained: true }, 10_000)?.stopAt, Infinity)
    assert.equal(
      shutdownOf(undefined, { ...fine, drained: true, lastMoment: 50_000 }, 10_000)?.stopAt,
      55_000,
    )
  })

  test('as first decided, unless the batch system presses', () => {
    const draining = shutdownOf(undefined, { ...fine, drained: true }, 10_000)
    assert.equal(shutdownOf(draining, { ...fine, drained: true, now: 20_000 }, 10_000), draining)
    const evicted = shutdownOf(draining, { ...fine, drained: true, evicted: true }, 10_000)
    assert.equal(evicted?.reason, 'eviction')
    assert.equal(shutdownOf(evicted, { ...fine, evicted: true, now: 20_000 }, 10_000), evicted)
  })
})
