import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  markUnwanted,
  markBegun,
  noCallsInFlight,
  takeEnded,
  isAlone,
  addCalls,
  timeLimitOf,
  withdrawWaiting,
  type InFlightCall,
  noteProgress,
  progressOf,
  stuckCalls,
} from '../../../src/pilot/tasks/in-flight-calls.ts'
import type { LeasedTask } from '../../../src/pilot/tasks/task-queue.ts'

function held(task: number, more: Partial<LeasedTask> = {}): LeasedTask {
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
    const inFlight = noCallsInFlight()
    const [first, second, waiting] = addCalls(inFlight, [held(1), held(2), held(3)]) as [
      InFlightCall,
      InFlightCall,
      InFlightCall,
    ]
    markBegun(inFlight, [first.id, second.id], 0)
    const isOne =
      (...tasks: number[]) =>
      (task: LeasedTask) =>
        tasks.includes(task.task)
    markUnwanted(inFlight, isOne(1, 3), 10)
    assert.deepEqual(stuckCalls(inFlight, 20), { stuck: [], next: 10 })
    assert.equal(waiting.endBy, undefined, 'it has not begun')
    markUnwanted(inFlight, isOne(1, 2), 30)
    assert.deepEqual(stuckCalls(inFlight, 29), { stuck: [], next: 10 })
    assert.deepEqual(stuckCalls(inFlight, 30).stuck, [first, second])
  })

  test('end once, each with what was said of it', () => {
    const inFlight = noCallsInFlight()
    const [first] = addCalls(inFlight, [held(1)])
    assert.deepEqual(
      takeEnded(inFlight, [{ id: first!.id, value: 7 }]).map(({ result }) => result.value),
      [7],
    )
    assert.deepEqual(
      takeEnded(inFlight, [
        { id: first!.id, value: 7 },
        { id: 99, value: 0 },
      ]),
      [],
    )
  })

  test('meet their time limit counted from when they began', () => {
    const inFlight = noCallsInFlight()
    const [limited, free] = addCalls(inFlight, [held(1, { timeLimitMs: 50 }), held(2)])
    assert.equal(timeLimitOf(limited!), Infinity)
    markBegun(inFlight, [limited!.id, free!.id], 100)
    assert.equal(timeLimitOf(limited!), 150)
    assert.equal(timeLimitOf(free!), Infinity)
  })

  test('say how far they are as long as they are in flight; the first word of each is news', () => {
    const inFlight = noCallsInFlight()
    const [first, second] = addCalls(inFlight, [held(1), held(2)])
    const word = (call: InFlightCall | undefined, done: number) => ({ id: call!.id, done, total: 9 })
    assert.ok(noteProgress(inFlight, [word(first, 1)]))
    assert.ok(!noteProgress(inFlight, [word(first, 2)]))
    assert.ok(noteProgress(inFlight, [word(first, 3), word(second, 4), { id: 99, done: 1 }]))
    takeEnded(inFlight, [{ id: first!.id, value: 0 }])
    assert.deepEqual(progressOf(inFlight), [{ task: 2, done: 4, total: 9 }])
  })

  test('can be recalled until they begin', () => {
    const inFlight = noCallsInFlight()
    const [first, second] = addCalls(inFlight, [held(1), held(2)])
    markBegun(inFlight, [first!.id], 0)
    assert.deepEqual(
      withdrawWaiting(inFlight, () => true),
      [second],
    )
    assert.equal(inFlight.calls.size, 1)
  })

  test('one that must be alone keeps the others out', () => {
    const inFlight = noCallsInFlight()
    assert.ok(!isAlone(inFlight))
    addCalls(inFlight, [held(1, { alone: true })])
    assert.ok(isAlone(inFlight))
  })
})
