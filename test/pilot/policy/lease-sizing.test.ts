import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { limits } from '../../../src/protocol/primitives.ts'
import {
  fitting,
  type RateMeter,
  moreTasks,
  observeCalls,
  rateOf,
  tasksToStayBusy,
  unmeasured,
  windowSize,
} from '../../../src/pilot/policy/lease-sizing.ts'

const anyMeter: fc.Arbitrary<RateMeter> = fc
  .array(
    fc.record({
      tasks: fc.integer({ min: 1, max: 4096 }),
      busyMs: fc.double({ min: 0, max: 1e6, noNaN: true }),
      taskMs: fc.double({ min: 0, max: 1e6, noNaN: true }),
    }),
    { maxLength: 30 },
  )
  .map((ends) =>
    ends.reduce<RateMeter>((meter, e) => observeCalls(meter, e.tasks, e.busyMs, e.taskMs), unmeasured),
  )

const anyDemand = fc.record({
  meter: anyMeter,
  inHand: fc.nat(30_000),
  slots: fc.nat(16),
  batch: fc.integer({ min: 1, max: 4096 }),
  leaseTargetMs: fc.integer({ min: 1, max: 60_000 }),
  leftMs: fc.option(fc.double({ min: 0, max: 1e7, noNaN: true }), { nil: undefined }),
})

/** A meter that has seen a steady stream: `rate` tasks a second, each taking `taskMs`. */
function steady(rate: number, taskMs = 1000 / rate): RateMeter {
  let meter: RateMeter = unmeasured
  for (let i = 0; i < 200; i++) meter = observeCalls(meter, rate / 8, 125, taskMs)
  return meter
}

const typical = { inHand: 0, slots: 1, batch: 1, leaseTargetMs: 2_000 }

describe('measuring', () => {
  test('tasks that fail, at once or after long, change no rate and earn no work', () => {
    let meter: RateMeter = unmeasured
    for (let i = 0; i < 1_000; i++) meter = observeCalls(meter, 0, 1, 1)
    assert.equal(rateOf(meter), 0)
    assert.equal(moreTasks({ ...typical, meter }), moreTasks({ ...typical, meter: unmeasured }))
    assert.deepEqual(observeCalls(steady(50), 0, 60_000, 60_000), steady(50))
  })

  test('an unmeasured context has no rate', () => {
    assert.equal(rateOf(unmeasured), 0)
  })

  test('a steady stream is measured as what it is', () => {
    assert.ok(Math.abs(rateOf(steady(50)) - 50) < 0.01)
  })

  test('the rate follows a change of speed within seconds of busy time', () => {
    let meter = steady(100)
    for (let i = 0; i < 150; i++) meter = observeCalls(meter, 1, 100, 100)
    assert.ok(rateOf(meter) < 25, `still ${rateOf(meter)} tasks/s after 15 s at 10 tasks/s`)
  })

  test('a slow task is remembered for a while, not for ever', () => {
    let meter = observeCalls(steady(100), 1, 5_000, 5_000)
    meter = observeCalls(meter, 1, 10, 10)
    assert.ok(meter.taskMs > 4_000)
    for (let i = 0; i < 500; i++) meter = observeCalls(meter, 1, 10, 10)
    assert.ok(meter.taskMs < 100)
  })
})

describe('how much to ask for', () => {
  test('it starts with what its libraries run at once, or one more where that is one', () => {
    assert.equal(moreTasks({ ...typical, slots: 4, meter: unmeasured }), 8)
    assert.equal(moreTasks({ ...typical, batch: 64, slots: 2, meter: unmeasured }), 128)
    assert.equal(moreTasks({ ...typical, batch: 64, inHand: 60, meter: unmeasured }), 4)
  })

  test('it reaches twenty thousand in a handful of answers when tasks take no time', () => {
    let meter: RateMeter = unmeasured
    let answers = 0
    for (let asked = 0; asked < limits.batch; answers++) {
      asked = moreTasks({ ...typical, meter })
      meter = observeCalls(meter, asked, asked / 20, 0.1)
    }
    assert.ok(answers <= 8, `${answers} answers`)
  })

  test('it settles at the target time of work in hand', () => {
    const nearly = (more: number, expected: number) => assert.ok(Math.abs(more - expected) <= 1, `${more}`)
    nearly(moreTasks({ ...typical, meter: steady(50) }), 100)
    nearly(moreTasks({ ...typical, meter: steady(50), inHand: 80 }), 20)
    nearly(moreTasks({ ...typical, meter: steady(50), slots: 3 }), 300)
  })

  test('however slow, a library has one batch to run and one ready', () => {
    assert.equal(moreTasks({ ...typical, meter: steady(0.5), batch: 8 }), 16)
    assert.equal(tasksToStayBusy({ slots: 1, batch: 8 }), 16)
    assert.ok(tasksToStayBusy({ slots: 16, batch: 4096 }) <= limits.batch)
  })

  test('near the end it asks only for what can end in time', () => {
    const meter = steady(50)
    const more = moreTasks({ ...typical, meter, leftMs: 1_000 })
    assert.ok(more > 0 && more <= 50, `${more}`)
    assert.equal(moreTasks({ ...typical, meter, leftMs: 25 }), 0)
    assert.equal(moreTasks({ ...typical, meter: steady(0.1), leftMs: 9_000 }), 0)
  })

  test('a task that takes longer than what is left is not begun, however many end together', () => {
    const meter = steady(6.4, 10_000)
    assert.ok(moreTasks({ ...typical, meter, batch: 64, leftMs: 16_000 }) > 0)
    assert.equal(moreTasks({ ...typical, meter, batch: 64, leftMs: 12_000 }), 0)
  })

  test('without a slot that holds the context it asks for nothing', () => {
    assert.equal(moreTasks({ ...typical, meter: steady(50), slots: 0 }), 0)
  })

  test('property: never negative, never above the limit, never fractional', () => {
    fc.assert(
      fc.property(anyDemand, (demand) => {
        const more = moreTasks(demand)
        assert.ok(Number.isInteger(more) && more >= 0 && more <= limits.batch)
      }),
    )
  })

  test('property: with what is in hand it never exceeds what can end before the end', () => {
    fc.assert(
      fc.property(anyDemand, (demand) => {
        const { meter, slots, leftMs, inHand } = demand
        const more = moreTasks(demand)
        if (more > 0) assert.ok(inHand + more <= fitting(meter, slots, leftMs))
        if (more > 0 && leftMs !== undefined && meter.ended > 0) {
          assert.ok(((inHand + more) / (slots * rateOf(meter))) * 1000 <= leftMs)
          assert.ok(meter.taskMs < leftMs)
        }
      }),
    )
  })

  test('property: more in hand or less time never means asking for more', () => {
    fc.assert(
      fc.property(
        anyDemand,
        fc.nat(1000),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (demand, extra, part) => {
          const more = moreTasks(demand)
          assert.ok(moreTasks({ ...demand, inHand: demand.inHand + extra }) <= more)
          const { leftMs } = demand
          if (leftMs !== undefined) assert.ok(moreTasks({ ...demand, leftMs: leftMs * part }) <= more)
        },
      ),
    )
  })
})

describe('how much to have inside a library', () => {
  test('two batches at least, and some milliseconds of work', () => {
    assert.equal(windowSize(unmeasured, 1), 2)
    assert.equal(windowSize(unmeasured, 64), 128)
    const window = windowSize(steady(10_000), 1)
    assert.ok(window >= 499 && window <= 501, `${window}`)
  })

  test('never without bound', () => {
    assert.equal(windowSize(steady(1e7), 1), 4_096)
  })
})
