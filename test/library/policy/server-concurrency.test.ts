import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  type ConcurrencyState,
  firstState,
  MOST,
  nextState,
} from '../../../src/library/policy/server-concurrency.ts'

/** A server that answers `most` requests a second with `enough` at once, fewer in proportion, and refuses beyond `room`. */
interface Server {
  most: number
  enough: number
  room?: number
}

function after(periods: number, { most, enough, room = Infinity }: Server): ConcurrencyState[] {
  const states = [firstState()]
  for (let i = 0; i < periods; i++) {
    const state = states.at(-1)!
    const seconds = 2
    const answered = seconds * most * Math.min(1, state.limit / enough)
    states.push(nextState(state, { answered, seconds, refused: state.limit > room ? 1 : 0, full: true }))
  }
  return states
}

describe('the number of requests that a server is sent at once', () => {
  test('grows while that makes it faster, and then stays about there', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 1000 }), (enough, most) => {
        const last = after(60, { most, enough }).slice(20)
        for (const { limit } of last) {
          assert.ok(limit >= Math.min(enough, MOST) * 0.95, `${limit} is too few: ${enough} are best`)
          assert.ok(limit <= Math.max(9, enough * 1.5 * 1.5), `${limit} is too many: ${enough} do`)
        }
      }),
    )
  })

  test('falls below what the server refuses, and is tried again only much later', () => {
    const states = after(60, { most: 100, enough: 100, room: 20 })
    const first = states.findIndex(({ limit }) => limit > 20)
    const refusals = states.slice(first, first + 50).filter(({ limit }) => limit > 20)
    assert.ok(refusals.length <= 2, `${refusals.length} periods with refusals`)
    assert.ok(states.at(-1)!.limit >= 9)
  })

  test('goes down to one request, and never below', () => {
    assert.equal(after(40, { most: 10, enough: 5, room: 0 }).at(-1)!.limit, 1)
  })

  test('stays as it is while there is too little to send', () => {
    const state = firstState()
    assert.equal(nextState(state, { answered: 3, seconds: 1, refused: 0, full: false }), state)
  })

  test('is tried again when it has been the same for long, as requests change', () => {
    let state = after(20, { most: 100, enough: 4 }).at(-1)!
    for (let i = 0; i < 80; i++) {
      state = nextState(state, {
        answered: 100 * Math.min(1, state.limit / 40),
        seconds: 1,
        refused: 0,
        full: true,
      })
    }
    assert.ok(state.limit >= 38, `${state.limit}`)
  })

  test('has a bound', () => {
    assert.ok(after(200, { most: 1e6, enough: 1e6 }).every(({ limit }) => limit <= MOST))
  })
})
