import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createRates, noteCounters, rateOf } from '../../../src/web/policy/counter-rates.ts'

const seen = (values: [at: number, value: number][], windowMs = 10_000) => {
  const rates = createRates(windowMs)
  for (const [at, value] of values) noteCounters(rates, new Map([['a', value]]), at)
  return rateOf(rates, 'a')
}

describe('the rate of a counter', () => {
  test('is what it grew by per second', () => {
    assert.equal(seen([[0, 100], [1000, 130], [2000, 160]]), 30) // prettier-ignore
  })

  test('is not known after one look', () => assert.equal(seen([[0, 100]]), 0))

  test('forgets what was before the window', () => {
    assert.equal(seen([[0, 0], [1000, 5000], [11_000, 5010]]), 1) // prettier-ignore
  })

  test('begins anew when the counter went back', () => {
    assert.equal(seen([[0, 900], [1000, 10], [2000, 15]]), 5) // prettier-ignore
  })

  test('is forgotten with the counter', () => {
    const rates = createRates(10_000)
    noteCounters(rates, new Map([['a', 1]]), 0)
    noteCounters(rates, new Map([['b', 1]]), 1000)
    assert.deepEqual([...rates.samples.keys()], ['b'])
  })
})
