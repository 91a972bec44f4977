import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  abandon,
  begin,
  emptyFlight,
  end,
  isAlone,
  launch,
  limitOf,
  recall,
  type Call,
  note,
  reportsOf,
  stuckIn,
} from '../../src/pilot/flight.ts'
import type { HeldTask } from '../../src/pilot/hand.ts'

function held(task: number, more: Partial<HeldTask> = {}): HeldTask {
  return {
    task,
    lease: 1,
    context: 'c',
    function: 'f',
    input: task,
    alone: false,
    timeLimitMs: undefined,
    ...more,
  }
}

describe('the calls inside a library', () => {
  test('are stuck once all that have begun are cancelled and past their time', () => {
    const flight = emptyFlight()
    const [first, second, waiting] = launch(flight, [held(1), held(2), held(3)]) as [Call, Call, Call]
    begin(flight, [first.id, second.id], 0)
    const isOne =
      (...tasks: number[]) =>
      (task: HeldTask) =>
        tasks.includes(task.task)
    abandon(flight, isOne(1, 3), 10)
    assert.deepEqual(stuckIn(flight, 20), { stuck: [], next: 10 })
    assert.equal(waiting.endBy, undefined, 'it has not begun')
    abandon(flight, isOne(1, 2), 30)
    assert.deepEqual(stuckIn(flight, 29), { stuck: [], next: 10 })
    assert.deepEqual(stuckIn(flight, 30).stuck, [first, second])
  })

  test('end once, each with what was said of it', () => {
    const flight = emptyFlight()
    const [first] = launch(flight, [held(1)])
    assert.deepEqual(
      end(flight, [{ id: first!.id, value: 7 }]).map(({ result }) => result.value),
      [7],
    )
    assert.deepEqual(
      end(flight, [
        { id: first!.id, value: 7 },
        { id: 99, value: 0 },
      ]),
      [],
    )
  })

  test('meet their time limit counted from when they began', () => {
    const flight = emptyFlight()
    const [limited, free] = launch(flight, [held(1, { timeLimitMs: 50 }), held(2)])
    assert.equal(limitOf(limited!), Infinity)
    begin(flight, [limited!.id, free!.id], 100)
    assert.equal(limitOf(limited!), 150)
    assert.equal(limitOf(free!), Infinity)
  })

  test('say how far they are as long as they are in flight; the first word of each is news', () => {
    const flight = emptyFlight()
    const [first, second] = launch(flight, [held(1), held(2)])
    const word = (call: Call | undefined, done: number) => ({ id: call!.id, done, total: 9 })
    assert.ok(note(flight, [word(first, 1)]))
    assert.ok(!note(flight, [word(first, 2)]))
    assert.ok(note(flight, [word(first, 3), word(second, 4), { id: 99, done: 1 }]))
    end(flight, [{ id: first!.id, value: 0 }])
    assert.deepEqual(reportsOf(flight), [{ task: 2, done: 4, total: 9 }])
  })

  test('can be recalled until they begin', () => {
    const flight = emptyFlight()
    const [first, second] = launch(flight, [held(1), held(2)])
    begin(flight, [first!.id], 0)
    assert.deepEqual(
      recall(flight, () => true),
      [second],
    )
    assert.equal(flight.calls.size, 1)
  })

  test('one that must be alone keeps the others out', () => {
    const flight = emptyFlight()
    assert.ok(!isAlone(flight))
    launch(flight, [held(1, { alone: true })])
    assert.ok(isAlone(flight))
  })
})
