import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { limits } from '../../src/protocol/common.ts'
import type { Lease, Outcome } from '../../src/protocol/task.ts'
import {
  acknowledge,
  addLease,
  among,
  close,
  emptyHand,
  finish,
  forget,
  type Hand,
  handBack,
  type HeldTask,
  putBack,
  queuedIn,
  report,
  takeAlone,
  takeTogether,
  unfinishedIn,
  unfinishedInAll,
  waitsAlone,
} from '../../src/pilot/hand.ts'

const DONE: Outcome = { status: 'done', value: 1 }

function lease(id: number, tasks: number[], more: Partial<Lease> = {}): Lease {
  return {
    lease: id,
    context: 'c',
    function: 'f',
    tasks: tasks.map((task) => ({ task, input: task })),
    ...more,
  }
}

function handWith(...leases: Lease[]): Hand {
  const hand = emptyHand()
  for (const one of leases) addLease(hand, one)
  return hand
}

const numbers = (tasks: HeldTask[]) => tasks.map(({ task }) => task)

describe('the tasks in hand', () => {
  test('are taken in order, and what did not run goes back to the front in order', () => {
    const hand = handWith(lease(1, [1, 2, 3, 4, 5]))
    const taken = takeTogether(hand, 'c', 3)
    putBack(hand, taken.slice(1))
    assert.deepEqual(numbers(takeTogether(hand, 'c', 9)), [2, 3, 4, 5])
  })

  test('those that must be alone wait apart from the others', () => {
    const hand = handWith(lease(1, [1]), lease(2, [], { tasks: [{ task: 9, input: 0, alone: true }] }))
    assert.ok(waitsAlone(hand, 'c'))
    assert.deepEqual(numbers(takeTogether(hand, 'c', 9)), [1])
    assert.deepEqual(numbers(takeAlone(hand, 'c')), [9])
    assert.ok(!waitsAlone(hand, 'c'))
  })

  test('a result is reported until it is acknowledged, and its lease is named while it has other tasks', () => {
    const hand = handWith(lease(1, [1, 2]))
    const [first, second] = takeTogether(hand, 'c', 2)
    finish(hand, first!, DONE, 5)
    assert.deepEqual(report(hand), { results: [{ task: 1, lease: 1, outcome: DONE, ms: 5 }], leases: [1] })
    assert.equal(report(hand).results.length, 1, 'not acknowledged yet')
    finish(hand, second!, DONE, 5)
    acknowledge(hand)
    assert.deepEqual(
      report(hand).results.map(({ task }) => task),
      [2],
    )
    assert.deepEqual(report(hand).leases, [])
    acknowledge(hand)
    assert.deepEqual(report(hand), { results: [], leases: [] })
  })

  test('results too many for one request keep their lease', () => {
    const value = 'x'.repeat(limits.value / 2)
    const big = handWith(
      lease(
        2,
        Array.from({ length: 6 }, (_, i) => i),
      ),
    )
    for (const task of takeTogether(big, 'c', 6)) finish(big, task, { status: 'done', value: [value] }, 1)
    const { results, leases } = report(big)
    assert.ok(results.length > 0 && results.length < 6, `${results.length} of 6`)
    assert.deepEqual(leases, [2])
  })

  test('handing back spares the first tasks, if asked to', () => {
    const hand = handWith(lease(1, [1, 2, 3]), lease(2, [4], { context: 'd' }))
    handBack(hand, { context: 'c', keep: 1 })
    assert.deepEqual(
      report(hand).results.map(({ task, outcome }) => [task, outcome.status]),
      [
        [2, 'returned'],
        [3, 'returned'],
      ],
    )
    assert.equal(unfinishedIn(hand, 'c'), 1)
    handBack(hand)
    assert.equal(unfinishedInAll(hand), 0)
  })

  test('a lease that is no longer ours is forgotten, but what had begun may still be reported', () => {
    const hand = handWith(lease(1, [1, 2, 3]), lease(2, [4]))
    const [running, waiting] = takeTogether(hand, 'c', 2)
    forget(hand, [], [1])
    assert.deepEqual(report(hand), { results: [], leases: [2] })
    putBack(hand, [waiting!])
    assert.equal(queuedIn(hand, 'c'), 1, 'only the task of the other lease')
    finish(hand, running!, DONE, 1)
    assert.deepEqual(report(hand), { results: [{ task: 1, lease: 1, outcome: DONE, ms: 1 }], leases: [2] })
    assert.equal(unfinishedIn(hand, 'c'), 1)
  })

  test('a task that is cancelled is forgotten without an outcome', () => {
    const hand = handWith(lease(1, [1, 2]))
    forget(hand, [2], [])
    assert.deepEqual(numbers(takeTogether(hand, 'c', 9)), [1])
    assert.deepEqual(report(hand), { results: [], leases: [1] })
  })
})

describe('property: whatever happens', () => {
  type Step = {
    do: 'take' | 'finish' | 'putBack' | 'cancel' | 'revoke' | 'exchange' | 'handBack'
    which: number
  }
  const anyStep: fc.Arbitrary<Step> = fc.record({
    do: fc.constantFrom('take', 'finish', 'putBack', 'cancel', 'revoke', 'exchange', 'handBack'),
    which: fc.nat(40),
  })

  test('each task has at most one outcome, and exactly one unless it was cancelled or revoked', () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 80 }), (steps) => {
        const hand = handWith(
          ...[0, 1, 2, 3].map((id) =>
            lease(
              id,
              Array.from({ length: 10 }, (_, i) => id * 10 + i),
            ),
          ),
        )
        const outcomes = new Map<number, number>()
        const excused = new Set<number>()
        let running: HeldTask[] = []
        const exchange = () => {
          for (const { task } of report(hand).results) outcomes.set(task, (outcomes.get(task) ?? 0) + 1)
          acknowledge(hand)
        }
        const drop = (tasks: number[], leases: number[]) => {
          const isGone = among(tasks, leases)
          for (let task = 0; task < 40; task++) {
            if (tasks.includes(task) || leases.includes(Math.floor(task / 10))) excused.add(task)
          }
          forget(hand, tasks, leases)
          for (const task of running.filter(isGone)) close(hand, task)
          running = running.filter((task) => !isGone(task))
        }
        for (const step of steps) {
          if (step.do === 'take') running.push(...takeTogether(hand, 'c', step.which % 5))
          if (step.do === 'finish')
            for (const task of running.splice(0, step.which % 3)) finish(hand, task, DONE, 1)
          if (step.do === 'putBack') putBack(hand, running.splice(step.which % 5))
          if (step.do === 'cancel') drop([step.which], [])
          if (step.do === 'revoke') drop([], [step.which % 4])
          if (step.do === 'exchange') exchange()
          if (step.do === 'handBack') handBack(hand, { keep: step.which })
        }
        for (const task of running) finish(hand, task, DONE, 1)
        handBack(hand)
        exchange()
        assert.equal(unfinishedInAll(hand), 0)
        assert.deepEqual(report(hand), { results: [], leases: [] })
        for (let task = 0; task < 40; task++) {
          const times = outcomes.get(task) ?? 0
          assert.ok(times === 1 || (times === 0 && excused.has(task)), `task ${task} has ${times} outcomes`)
        }
      }),
    )
  })
})
