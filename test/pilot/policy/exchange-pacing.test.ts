import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  afterSending,
  type ExchangeMoment,
  givenUpAt,
  nextExchange,
  NO_REQUEST,
} from '../../../src/pilot/policy/exchange-pacing.ts'

const LEASE_MS = 30_000
const quiet: ExchangeMoment = {
  now: 100_000,
  last: { at: 99_900, pace: 99_920, waitMs: 0, results: 300 },
  rate: 0,
  starving: false,
  warming: false,
}

describe('when to exchange next', () => {
  test('an idle worker leaves a request open, for less than its lease lasts', () => {
    assert.deepEqual(nextExchange({ ...quiet, starving: true }, LEASE_MS), { at: 100_000, waitMs: 10_000 })
  })

  test('a busy worker with nothing to tell is heard from every few seconds', () => {
    assert.deepEqual(nextExchange(quiet, LEASE_MS), { at: 104_900, waitMs: 0 })
    assert.deepEqual(nextExchange(quiet, 3_000), { at: 100_900, waitMs: 0 })
  })

  test('a result of slow work goes back within 200 ms', () => {
    const { at, waitMs } = nextExchange({ ...quiet, unreportedSince: 100_000, rate: 0.5 }, LEASE_MS)
    assert.ok(at <= 100_200)
    assert.equal(waitMs, 0)
  })

  test('a result goes back at once when a library has nothing left to do', () => {
    assert.equal(nextExchange({ ...quiet, unreportedSince: 100_000, starving: true }, LEASE_MS).at, 100_000)
  })

  test('at ten thousand results a second there are 20 to 50 exchanges', () => {
    const { at } = nextExchange(
      {
        ...quiet,
        last: { at: 100_000, pace: 100_080, waitMs: 0, results: 300 },
        unreportedSince: 100_000,
        rate: 10_000,
      },
      LEASE_MS,
    )
    assert.ok(at - 100_000 >= 20 && at - 100_000 <= 50, `${at - 100_000} ms apart`)
  })

  test('after a pause a few requests follow each other at once, and never more than one in 20 ms on average', () => {
    let [now, last] = [100_000, NO_REQUEST]
    const times: number[] = []
    for (let i = 0; i < 100; i++) {
      const { at, waitMs } = nextExchange({ ...quiet, now, last, starving: true }, LEASE_MS)
      now = at
      last = afterSending(last, now, { waitMs, results: 0 })
      times.push(at)
    }
    assert.deepEqual(times.slice(0, 6), [100_000, 100_000, 100_000, 100_000, 100_020, 100_040])
    assert.equal(times.at(-1), 100_000 + 96 * 20)
  })

  /** When a worker sends that hands in so many results and asks for work in turn, as soon as it may. */
  const turns = (results: number): number[] => {
    let [now, last] = [100_000, NO_REQUEST]
    return Array.from({ length: 100 }, (_, i) => {
      const news = i % 2 === 0 ? { unreportedSince: now } : {}
      const { at, waitMs } = nextExchange({ ...quiet, ...news, now, last, starving: true }, LEASE_MS)
      assert.equal(waitMs > 0, i % 2 === 1)
      now = at
      last = afterSending(last, now, { waitMs, results: waitMs > 0 ? 0 : results })
      return now
    })
  }

  test('a request that waits for work is sent at once behind one with a single result, and the two count as one', () => {
    const times = turns(1)
    const [first] = times.slice(-4)
    assert.deepEqual(times.slice(-4), [first, first, first! + 20, first! + 20])
    assert.equal(times.at(-1), 100_000 + 46 * 20)
  })

  test('behind one with many results it waits for the tasks of many callers to come together', () => {
    const times = turns(100)
    const [first] = times.slice(-3)
    assert.deepEqual(times.slice(-3), [first, first! + 20, first! + 40])
  })

  test('an open request is given up for news when that may be sent, and for progress when it has been open for a second', () => {
    const open = {
      ...quiet,
      starving: true,
      last: { at: 100_000, pace: 100_080, waitMs: 10_000, results: 0 },
    }
    assert.equal(givenUpAt(open, LEASE_MS), Infinity)
    assert.equal(givenUpAt({ ...open, unreportedSince: 100_001 }, LEASE_MS), 100_020)
    assert.equal(givenUpAt({ ...open, warming: true }, LEASE_MS), 101_000)
    const short = { ...open.last, waitMs: 1_000 }
    assert.equal(givenUpAt({ ...open, warming: true, last: short }, LEASE_MS), Infinity, 'it ends by itself')
  })

  test('the progress of a context on its way up is told every second', () => {
    assert.deepEqual(nextExchange({ ...quiet, warming: true }, LEASE_MS), { at: 100_900, waitMs: 0 })
    assert.equal(nextExchange({ ...quiet, warming: true, starving: true }, LEASE_MS).waitMs, 1_000)
  })

  test('property: the worker is heard from before its lease ends', () => {
    const moments = fc.record({
      now: fc.constant(100_000),
      last: fc.record({
        at: fc.integer({ min: 60_000, max: 100_000 }),
        pace: fc.integer({ min: 60_020, max: 100_080 }),
        waitMs: fc.constantFrom(0, 1_000, 20_000),
        results: fc.nat(1_000),
      }),
      unreportedSince: fc.option(fc.integer({ min: 90_000, max: 100_000 }), { nil: undefined }),
      rate: fc.double({ min: 0, max: 1e6, noNaN: true }),
      starving: fc.boolean(),
      warming: fc.boolean(),
    })
    fc.assert(
      fc.property(moments, fc.integer({ min: 1_000, max: 60_000 }), (moment, workerTimeoutMs) => {
        const { at, waitMs } = nextExchange(moment, workerTimeoutMs)
        assert.ok(
          Math.max(at - Math.max(moment.now, moment.last.at), 0) + waitMs <=
            Math.max(workerTimeoutMs / 2, 200),
        )
        assert.ok(Number.isInteger(waitMs))
      }),
    )
  })
})
