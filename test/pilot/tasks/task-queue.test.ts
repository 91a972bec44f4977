import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { limits } from '../../../src/protocol/primitives.ts'
import type { Lease, Outcome } from '../../../src/protocol/task.ts'
import {
  acknowledge,
  addLease,
  matching,
  closeTask,
  emptyTaskQueue,
  finishTask,
  forgetTasks,
  type TaskQueue,
  returnQueued,
  type LeasedTask,
  putBack,
  queuedIn,
  takeReport,
  takeNext,
  unfinishedIn,
  unfinishedInAll,
} from '../../../src/pilot/tasks/task-queue.ts'

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

function queueWith(...leases: Lease[]): TaskQueue {
  const taskQueue = emptyTaskQueue()
  for (const one of leases) addLease(taskQueue, one)
  return taskQueue
}

const numbers = (tasks: LeasedTask[]) => tasks.map(({ task }) => task)

describe('the tasks in hand', () => {
  test('are taken in order, and what did not run goes back to the front in order', () => {
    const taskQueue = queueWith(lease(1, [1, 2, 3, 4, 5]))
    const taken = takeNext(taskQueue, 'c', 0, 3)
    putBack(taskQueue, taken.slice(1))
    assert.deepEqual(numbers(takeNext(taskQueue, 'c', 0, 9)), [2, 3, 4, 5])
  })

  test('those that must be alone wait apart from the others', () => {
    const taskQueue = queueWith(lease(1, [1]), lease(2, [], { tasks: [{ task: 9, input: 0, alone: true }] }))
    assert.deepEqual(numbers(takeNext(taskQueue, 'c', 1, 9)), [], 'not beside another, nor another before it')
    assert.deepEqual(numbers(takeNext(taskQueue, 'c', 0, 9)), [9])
    assert.deepEqual(numbers(takeNext(taskQueue, 'c', 0, 9)), [1])
  })

  test('are taken in groups: not before a quarter of what a library should have is free', () => {
    const taskQueue = queueWith(lease(1, [1, 2, 3, 4, 5]))
    assert.deepEqual(numbers(takeNext(taskQueue, 'c', 7, 8)), [])
    assert.deepEqual(numbers(takeNext(taskQueue, 'c', 6, 8)), [1, 2])
  })

  test('a result is reported until it is acknowledged, and its lease is named while it has other tasks', () => {
    const taskQueue = queueWith(lease(1, [1, 2]))
    const [first, second] = takeNext(taskQueue, 'c', 0, 2)
    finishTask(taskQueue, { task: first!, outcome: DONE, ms: 5 })
    assert.deepEqual(takeReport(taskQueue), {
      results: [{ task: 1, lease: 1, outcome: DONE, ms: 5 }],
      leases: [1],
    })
    assert.equal(takeReport(taskQueue).results.length, 1, 'not acknowledged yet')
    finishTask(taskQueue, { task: second!, outcome: DONE, ms: 5 })
    acknowledge(taskQueue)
    assert.deepEqual(
      takeReport(taskQueue).results.map(({ task }) => task),
      [2],
    )
    assert.deepEqual(takeReport(taskQueue).leases, [])
    acknowledge(taskQueue)
    assert.deepEqual(takeReport(taskQueue), { results: [], leases: [] })
  })

  test('results too many for one request keep their lease', () => {
    const value = 'x'.repeat(limits.value / 2)
    const big = queueWith(
      lease(
        2,
        Array.from({ length: 6 }, (_, i) => i),
      ),
    )
    for (const task of takeNext(big, 'c', 0, 6))
      finishTask(big, { task, outcome: { status: 'done', value: [value] }, ms: 1 })
    const { results, leases } = takeReport(big)
    assert.ok(results.length > 0 && results.length < 6, `${results.length} of 6`)
    assert.deepEqual(leases, [2])
  })

  test('handing back spares the first tasks, if asked to', () => {
    const taskQueue = queueWith(lease(1, [1, 2, 3]), lease(2, [4], { context: 'd' }))
    returnQueued(taskQueue, { context: 'c', keep: 1 })
    assert.deepEqual(
      takeReport(taskQueue).results.map(({ task, outcome }) => [task, outcome.status]),
      [
        [2, 'returned'],
        [3, 'returned'],
      ],
    )
    assert.equal(unfinishedIn(taskQueue, 'c'), 1)
    returnQueued(taskQueue)
    assert.equal(unfinishedInAll(taskQueue), 0)
  })

  test('a lease that is no longer ours is forgotten, but what had begun may still be reported', () => {
    const taskQueue = queueWith(lease(1, [1, 2, 3]), lease(2, [4]))
    const [running, waiting] = takeNext(taskQueue, 'c', 0, 2)
    forgetTasks(taskQueue, [], [1])
    assert.deepEqual(takeReport(taskQueue), { results: [], leases: [2] })
    putBack(taskQueue, [waiting!])
    assert.equal(queuedIn(taskQueue, 'c'), 1, 'only the task of the other lease')
    finishTask(taskQueue, { task: running!, outcome: DONE, ms: 1 })
    assert.deepEqual(takeReport(taskQueue), {
      results: [{ task: 1, lease: 1, outcome: DONE, ms: 1 }],
      leases: [2],
    })
    assert.equal(unfinishedIn(taskQueue, 'c'), 1)
  })

  test('a task that is cancelled is forgotten without an outcome', () => {
    const taskQueue = queueWith(lease(1, [1, 2]))
    forgetTasks(taskQueue, [2], [])
    assert.deepEqual(numbers(takeNext(taskQueue, 'c', 0, 9)), [1])
    assert.deepEqual(takeReport(taskQueue), { results: [], leases: [1] })
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
        const taskQueue = queueWith(
          ...[0, 1, 2, 3].map((id) =>
            lease(
              id,
              Array.from({ length: 10 }, (_, i) => id * 10 + i),
            ),
          ),
        )
        const outcomes = new Map<number, number>()
        const excused = new Set<number>()
        let running: LeasedTask[] = []
        const exchange = () => {
          for (const { task } of takeReport(taskQueue).results)
            outcomes.set(task, (outcomes.get(task) ?? 0) + 1)
          acknowledge(taskQueue)
        }
        const drop = (tasks: number[], leases: number[]) => {
          const isGone = matching(tasks, leases)
          for (let task = 0; task < 40; task++) {
            if (tasks.includes(task) || leases.includes(Math.floor(task / 10))) excused.add(task)
          }
          forgetTasks(taskQueue, tasks, leases)
          for (const task of running.filter(isGone)) closeTask(taskQueue, task)
          running = running.filter((task) => !isGone(task))
        }
        for (const step of steps) {
          if (step.do === 'take') running.push(...takeNext(taskQueue, 'c', 0, step.which % 5))
          if (step.do === 'finish')
            for (const task of running.splice(0, step.which % 3))
              finishTask(taskQueue, { task, outcome: DONE, ms: 1 })
          if (step.do === 'putBack') putBack(taskQueue, running.splice(step.which % 5))
          if (step.do === 'cancel') drop([step.which], [])
          if (step.do === 'revoke') drop([], [step.which % 4])
          if (step.do === 'exchange') exchange()
          if (step.do === 'handBack') returnQueued(taskQueue, { keep: step.which })
        }
        for (const task of running) finishTask(taskQueue, { task, outcome: DONE, ms: 1 })
        returnQueued(taskQueue)
        exchange()
        assert.equal(unfinishedInAll(taskQueue), 0)
        assert.deepEqual(takeReport(taskQueue), { results: [], leases: [] })
        for (let task = 0; task < 40; task++) {
          const times = outcomes.get(task) ?? 0
          assert.ok(times === 1 || (times === 0 && excused.has(task)), `task ${task} has ${times} outcomes`)
        }
      }),
    )
  })
})
