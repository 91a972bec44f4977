import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { departureOf, reasonToLeave, type Situation } from '../../src/pilot/leaving.ts'

const fine: Situation = { now: 10_000, evicted: false, drained: false, idleMs: 5_000, hasUse: true }

describe('a worker leaves', () => {
  test('not while there is no reason', () => {
    assert.equal(reasonToLeave(fine), undefined)
    assert.equal(reasonToLeave({ ...fine, lastMoment: 10_001, idleSince: 5_001 }), undefined)
  })

  test('when the batch system or the manager says so, the batch system first', () => {
    assert.equal(reasonToLeave({ ...fine, drained: true }), 'drain')
    assert.equal(reasonToLeave({ ...fine, drained: true, evicted: true }), 'eviction')
  })

  test('at its last moment, or before if nothing more can end in time', () => {
    assert.equal(reasonToLeave({ ...fine, lastMoment: 10_000 }), 'walltime')
    assert.equal(reasonToLeave({ ...fine, lastMoment: 12_000, hasUse: false, idleSince: 9_999 }), 'walltime')
    assert.equal(reasonToLeave({ ...fine, lastMoment: 12_000, hasUse: false }), undefined, 'still busy')
  })

  test('when it has been idle for long', () => {
    assert.equal(reasonToLeave({ ...fine, idleSince: 5_000 }), 'idle')
  })
})

describe('what runs may go on', () => {
  test('for half of the grace, and the worker is gone well before its end', () => {
    const departure = departureOf(undefined, { ...fine, evicted: true }, 10_000)
    assert.deepEqual(departure, { reason: 'eviction', stopAt: 15_000, goneAt: 18_000 })
  })

  test('to its end when it is drained, but not past the last moment', () => {
    assert.equal(departureOf(undefined, { ...fine, drained: true }, 10_000)?.stopAt, Infinity)
    assert.equal(
      departureOf(undefined, { ...fine, drained: true, lastMoment: 50_000 }, 10_000)?.stopAt,
      55_000,
    )
  })

  test('as first decided, unless the batch system presses', () => {
    const draining = departureOf(undefined, { ...fine, drained: true }, 10_000)
    assert.equal(departureOf(draining, { ...fine, drained: true, now: 20_000 }, 10_000), draining)
    const evicted = departureOf(draining, { ...fine, drained: true, evicted: true }, 10_000)
    assert.equal(evicted?.reason, 'eviction')
    assert.equal(departureOf(evicted, { ...fine, evicted: true, now: 20_000 }, 10_000), evicted)
  })
})
