import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { count, duration, plural, rate, size, table } from '../../../src/cli/views/format.ts'
import { createRateMeter } from '../../../src/cli/views/progress/rate-meter.ts'

describe('numbers for people', () => {
  test('have separators, units and no more digits than mean something', () => {
    assert.equal(count(1234567), '1,234,567')
    assert.equal(plural(1, 'task'), '1 task')
    assert.equal(plural(2000, 'task'), '2,000 tasks')
    assert.equal(rate(1234.5), '1,230')
    assert.equal(rate(0.01234), '0.012')
    assert.equal(size(0), '0 B')
    assert.equal(size(999), '999 B')
    assert.equal(size(8_200_000), '8.2 MB')
  })

  test('of time use the two largest units', () => {
    assert.equal(duration(850), '850 ms')
    assert.equal(duration(12_000), '12 s')
    assert.equal(duration(200_000), '3 min 20 s')
    assert.equal(duration(3_600_000), '1 h')
    assert.equal(duration(90_061_000), '1 d 1 h')
  })

  test('stand in columns', () => {
    const rows = [
      ['1', 'claims'],
      ['23', 'x'],
    ]
    assert.equal(
      table(rows, [
        ['JOB', ([job]) => job!],
        ['NAME', ([, name]) => name!],
      ]),
      'JOB  NAME\n1    claims\n23   x',
    )
  })
})

describe('a meter', () => {
  test('tells the rate over its window and forgets what was before', () => {
    const meter = createRateMeter(10_000)
    assert.equal(meter.rate(), 0)
    meter.note(0, 0)
    assert.equal(meter.rate(), 0)
    meter.note(100, 10_000)
    assert.equal(meter.rate(), 10)
    meter.note(100, 20_000)
    assert.equal(meter.rate(), 0)
  })

  test('goes by its two ends while the window fills', () => {
    const meter = createRateMeter(10_000)
    for (let second = 0; second <= 5; second++) meter.note(second * 7, second * 1000)
    assert.equal(meter.rate(), 7)
  })
})
