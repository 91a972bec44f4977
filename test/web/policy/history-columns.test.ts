import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { EventOf } from '../../../src/protocol/events.ts'
import { pastOf } from '../../../src/web/policy/history-columns.ts'
import { totalUse } from '../../../src/web/policy/slot-time-shares.ts'

const sample = (at: number, running: Record<string, number>): EventOf<'sample'> => ({
  ...{ cursor: at, at, type: 'sample', pools: [] },
  tasks: { queued: 0, leased: 0, done: 0, failed: 0 },
  sites: Object.entries(running).map(([site, running]) => ({ site, pending: 0, running, held: 0 })),
})
const progress = (at: number, job: number, done: number): EventOf<'job-progress'> => ({
  ...{ cursor: at, at, type: 'job-progress', job, tasks: 1000, done, failed: 0 },
})

describe('the past', () => {
  test('has a column for each site, with 0 where a site was not there', () => {
    const { times, pilots } = pastOf([sample(1000, { a: 1 }), sample(2000, { a: 2, b: 5 })], [])
    assert.deepEqual({ times, pilots }, { times: [1000, 2000], pilots: { a: [1, 2], b: [0, 5] } })
  })

  test('has for each job what ended per second between two looks', () => {
    const samples = [1000, 2000, 4000, 6000].map((at) => sample(at, {}))
    const points = [progress(1500, 7, 0), progress(3500, 7, 100), progress(5500, 7, 110)]
    assert.deepEqual(pastOf(samples, points).rates, { 7: [0, 25, 38.8, 3.75] })
  })

  test('shows no more and no less than what ended, whenever it was looked', () => {
    const time = fc.integer({ min: 0, max: 100_000 })
    const later = fc.integer({ min: 1, max: 100_000 })
    const steps = fc.array(fc.record({ at: later, more: fc.nat({ max: 1000 }) }), { minLength: 1 })
    fc.assert(
      fc.property(fc.uniqueArray(time), steps, (looks, steps) => {
        let done = 0
        const points = [{ at: 0, more: 0 }, ...steps.toSorted((a, b) => a.at - b.at)].map(({ at, more }) =>
          progress(at, 7, (done += more)),
        )
        const ordered = [0, ...looks.toSorted((a, b) => a - b), 100_000]
        const { times, rates } = pastOf(
          ordered.map((at) => sample(at, {})),
          points,
        )
        const shown = times.map((at, i) => (rates[7]![i]! * (at - (times[i - 1] ?? at))) / 1000)
        const all = shown.reduce((sum, one) => sum + one, 0)
        // Rates are told in three digits.
        assert.ok(Math.abs(all - done) <= 0.01 * done + 1e-6, `${all} of ${done}`)
      }),
    )
  })

  test('is in order though a clock was set back, and no rate is negative when failures are run again', () => {
    const samples = [sample(3000, { a: 3 }), sample(1000, { a: 1 })]
    const { times, pilots } = pastOf(samples, [])
    assert.deepEqual([times, pilots.a], [[1000, 3000], [1, 3]]) // prettier-ignore
    assert.deepEqual(pastOf([sample(1500, {})], [progress(1000, 1, 50), progress(2000, 1, 10)]).rates, {
      1: [0],
    })
  })
})

describe('the use of slot time', () => {
  const spent = { slots: 1, boot: 1, fetch: 2, load: 3, inference: 60, idle: 4, lost: 10 }

  test('is that of accelerators alone where there are some', () => {
    assert.deepEqual(totalUse({ cpu: spent, L40S: spent }), { used: 60, wasted: 20, of: 'GPU' })
    assert.deepEqual(totalUse({ cpu: spent }), { used: 60, wasted: 20, of: 'slot' })
    assert.deepEqual(totalUse({}), { used: 0, wasted: 0, of: 'slot' })
  })
})
