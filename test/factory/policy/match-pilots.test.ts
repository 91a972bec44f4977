import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { matchPilots } from '../../../src/factory/policy/match-pilots.ts'
import type { PilotRecord } from '../../../src/core/pilot-registry.ts'
import type { Job, JobState } from '../../../src/factory/sites/site.ts'

const LISTED = 1_000_000
const LATENESS = 60_000
const job = (pilot: string, state: JobState = 'running', more: Partial<Job> = {}): Job => ({
  jobId: `j-${pilot}`,
  pilot,
  state,
  ...more,
})
const record = (pilot: string, more: Partial<PilotRecord> = {}): PilotRecord => ({
  pilot,
  createdAt: LISTED - 100_000,
  ...more,
})
const submitted = (pilot: string, submittedAt = LISTED - 90_000) =>
  record(pilot, { jobId: `j-${pilot}`, submittedAt })
const states = (jobs: Job[], records: PilotRecord[]) =>
  matchPilots(jobs, records, [], LISTED, LATENESS).pilots.map(({ pilot, state }) => [pilot, state])

describe('reconciling queue and ledger', () => {
  test('takes a pilot’s state from the queue', () => {
    assert.deepEqual(states([job('p1', 'pending'), job('p2', 'held')], [submitted('p1'), submitted('p2')]), [
      ['p1', 'pending'],
      ['p2', 'held'],
    ])
  })

  test('adopts jobs whose submission was not recorded', () => {
    const { adopted, pilots } = matchPilots([job('p1')], [record('p1')], [], LISTED, LATENESS)
    assert.deepEqual(adopted, [{ pilot: 'p1', jobId: 'j-p1' }])
    assert.equal(pilots.length, 1)
  })

  test('gives up pilots that have left the queue, with what it still says of them', () => {
    const ended = job('p2', 'ended', { reason: 'TIMEOUT' })
    const { gone, pilots } = matchPilots([ended], [submitted('p1'), submitted('p2')], [], LISTED, LATENESS)
    assert.deepEqual(gone, [{ record: submitted('p1') }, { record: submitted('p2'), job: ended }])
    assert.deepEqual(pilots, [])
  })

  test('does not give up a pilot that was submitted after the queue was asked', () => {
    assert.deepEqual(states([], [submitted('p1', LISTED + 1)]), [['p1', 'submitting']])
  })

  test('counts a pilot whose submission got no answer, until its job must have shown', () => {
    assert.deepEqual(states([], [record('p1', { createdAt: LISTED - LATENESS + 1 })]), [['p1', 'submitting']])
    assert.deepEqual(states([], [record('p1', { createdAt: LISTED - LATENESS })]), [])
  })

  test('finds jobs of pilots that were given up, which take room until they are gone', () => {
    const jobs = [job('p8', 'pending'), job('p9', 'ending'), job('p7', 'ended')]
    const { orphans, pilots } = matchPilots(jobs, [], [], LISTED, LATENESS)
    assert.deepEqual(orphans, [job('p8', 'pending')])
    assert.deepEqual(
      pilots.map(({ pilot, state }) => [pilot, state]),
      [
        ['p8', 'ending'],
        ['p9', 'ending'],
      ],
    )
  })

  test('remembers since when a pilot has been in its state', () => {
    const first = matchPilots([job('p1', 'held')], [submitted('p1')], [], LISTED, LATENESS)
    const second = matchPilots([job('p1', 'held')], [submitted('p1')], first.pilots, LISTED + 5000, LATENESS)
    assert.equal(second.pilots[0]?.since, LISTED)
    const third = matchPilots(
      [job('p1', 'pending')],
      [submitted('p1')],
      second.pilots,
      LISTED + 9000,
      LATENESS,
    )
    assert.equal(third.pilots[0]?.since, LISTED + 9000)
  })
})
