import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { reasonToLeave, type Situation, timetable } from '../../src/pilot/leaving.ts'

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
    assert.deepEqual(timetable('eviction', 1_000, 10_000), { stopAt: 6_000, goneAt: 9_000 })
  })

  test('to its end when it is drained, but not past the last moment', () => {
    assert.equal(timetable('drain', 1_000, 10_000).stopAt, Infinity)
    assert.equal(timetable('drain', 1_000, 10_000, 50_000).stopAt, 55_000)
  })
})
