import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { demandOf } from '../../../src/core/scheduler/demand.ts'
import { addTasks, lost } from '../../../src/core/scheduler/transitions.ts'
import { driver, withJob } from './support/scheduler-driver.ts'

describe('the demand for pilots', () => {
  test('is by the speed of those that were there before, when all have been evicted', () => {
    const state = withJob()
    addTasks(state, 1, 0, 1000, 0)
    for (const [worker, rate] of [
      ['w1', 4],
      ['w2', 4],
    ] as const) {
      driver(state, worker)({ rate })
    }
    assert.equal(demandOf(state).ratePerPilot, 4)
    for (const worker of ['w1', 'w2']) lost(state, worker, 1000)
    assert.deepEqual(demandOf(state), { queued: 1000, leased: 0, ratePerPilot: 4 })
    driver(state, 'w3')({ rate: 0 })
    assert.equal(demandOf(state).ratePerPilot, 4)
    driver(state, 'w4')({ rate: 10 })
    assert.equal(demandOf(state).ratePerPilot, 10)
  })

  test('knows no speed before a worker has measured one', () => {
    const state = withJob()
    addTasks(state, 1, 0, 10, 0)
    driver(state, 'w1')({ rate: 0 })
    lost(state, 'w1', 1000)
    assert.equal(demandOf(state).ratePerPilot, 0)
  })

  test('keeps a speed between the slowest and the fastest that was measured, whatever workers come and go', () => {
    const step = fc.record({ rate: fc.double({ min: 0.01, max: 1e4, noNaN: true }), leaves: fc.boolean() })
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 20 }), (steps) => {
        const state = withJob()
        addTasks(state, 1, 0, 100_000, 0)
        const rates = steps.map(({ rate }) => rate)
        for (const [i, { rate, leaves }] of steps.entries()) {
          driver(state, `w${i}`)({ rate })
          if (leaves) lost(state, `w${i}`, 1000)
        }
        for (const worker of [...state.workers.keys()]) lost(state, worker, 2000)
        const { ratePerPilot, queued } = demandOf(state)
        assert.equal(queued, 100_000)
        assert.ok(ratePerPilot >= Math.min(...rates) * 0.999_999)
        assert.ok(ratePerPilot <= Math.max(...rates) * 1.000_001)
      }),
    )
  })
})
