import assert from 'node:assert/strict'
import { beforeEach, describe, test } from 'node:test'
import type { Outcome } from '../../../src/protocol/task.ts'
import { type SimWorker, World } from './support/scheduler-world.ts'

const done: Outcome = { status: 'done', value: 1 }
const error: Outcome = { status: 'error', error: { name: 'Error', message: 'no' } }
const crash: Outcome = { status: 'crash', error: { name: 'Crash', message: 'segfault' } }
const returned: Outcome = { status: 'returned' }

/** Time after which 5 tasks at one a second, as all workers say of themselves, are clearly slow. */
const SLOW_MS = 15_000

let world: World
let slow: SimWorker
let idle: SimWorker

/** A worker that has 5 tasks, says that it is there, and ends none; and one that has ended all it was given. */
beforeEach(() => {
  world = new World({ workerTimeoutMs: 1_000_000, slowMs: 2_000, slowFactor: 3 })
  slow = world.start()
  idle = world.start()
  world.room = 5
  world.submit(5)
  world.send(slow)
  assert.equal(slow.hand.size, 5)
  world.send(idle, { waitMs: 500_000 })
})

function becomeSlow(): void {
  world.wait(SLOW_MS + 1)
  assert.equal(idle.hand.size, 5)
}

describe('at the tail', () => {
  test('an idle worker gets what is slow too; the first value wins, and the other is told to forget it', () => {
    becomeSlow()
    world.work(idle, 5, () => done)
    world.send(idle)
    assert.equal(world.recorded.size, 5)
    world.close()
    assert.ok(world.finished)
    world.send(slow)
    assert.equal(slow.hand.size, 0)
    assert.equal(world.state.counts.duplicates, 0)
  })

  test('the other is told at once if it waits for an answer, and gets of what was queued meanwhile', () => {
    becomeSlow()
    world.submit(4)
    world.send(slow)
    world.send(slow, { waitMs: 500_000 })
    assert.deepEqual([...slow.hand.keys()], [0, 1, 2, 3, 4])
    world.work(idle, 5, () => done)
    world.send(idle)
    assert.deepEqual([...slow.hand.keys()], [7])
    assert.deepEqual([...idle.hand.keys()], [5, 6])
  })

  test('nothing runs twice before it takes clearly longer than it takes others', () => {
    world.wait(SLOW_MS - 1_000)
    assert.equal(idle.hand.size, 0)
  })

  test('nothing runs twice while anything is queued, or where no rate was measured', () => {
    world.submit(20)
    assert.equal(idle.hand.size, 5)
    const unmeasured = new World({ workerTimeoutMs: 1_000_000 })
    unmeasured.submit(5)
    unmeasured.room = 5
    unmeasured.rate = 0
    const [first, second] = [unmeasured.start(), unmeasured.start()]
    unmeasured.send(first)
    unmeasured.send(second, { waitMs: 500_000 })
    unmeasured.wait(400_000)
    assert.equal(second.hand.size, 0)
  })

  test('the last tasks go first to a worker that has room for a few, and none runs a third time', () => {
    const few = world.start()
    world.room = 2
    world.send(few, { waitMs: 500_000 })
    world.kill(idle)
    world.wait(SLOW_MS + 1)
    assert.deepEqual([...few.hand.keys()], [...slow.hand.keys()].slice(3))
    world.room = 5
    const third = world.start()
    world.send(third, { waitMs: 500_000 })
    world.wait(SLOW_MS + 1)
    assert.deepEqual([...third.hand.keys()], [...slow.hand.keys()].slice(0, 3))
  })

  test('a worker that hands its part back, or is lost, leaves the other’s as it is', () => {
    becomeSlow()
    world.work(idle, 5, () => returned)
    world.send(idle)
    assert.equal(world.state.counts.requeued, 0)
    assert.equal(world.state.holders.size, 5)

    world.send(idle, { waitMs: 500_000 })
    becomeSlow()
    world.kill(slow)
    world.wait(1_001)
    assert.equal(world.state.counts.requeued, 0)
    world.work(idle, 5, () => done)
    world.send(idle)
    assert.equal(world.recorded.size, 5)
  })

  test('when both are lost, the tasks are queued once', () => {
    becomeSlow()
    world.kill(slow)
    world.kill(idle)
    world.wait(1_001)
    assert.equal(world.state.jobs.get(1)?.queue.size, 5)
    assert.equal(world.state.counts.requeued, 5)
  })

  test('an error of one is charged, and the task goes on where it still runs', () => {
    world.work(slow, 0, () => done)
    becomeSlow()
    // The first failure of a worker that never finished anything is excused; the job allows one retry.
    world.work(slow, 1, () => error)
    world.send(slow)
    assert.equal(world.recorded.size, 0)
    assert.equal(world.state.jobs.get(1)?.queue.size, 0)
    world.work(idle, 5, () => done)
    world.send(idle)
    assert.equal(world.recorded.size, 5)
    assert.deepEqual(new Set([...world.recorded.values()].map(({ status }) => status)), new Set(['done']))
  })

  test('what crashed a library does not run twice', () => {
    world.kill(idle)
    world.wait(1_001)
    world.work(slow, 5, () => crash)
    world.send(slow)
    assert.equal(slow.hand.size, 5)
    const other = world.start()
    world.send(other, { waitMs: 500_000 })
    world.wait(SLOW_MS + 1)
    assert.equal(other.hand.size, 0)
  })

  test('a job that is cancelled is forgotten by both', () => {
    becomeSlow()
    world.cancel()
    world.send(slow)
    world.send(idle)
    assert.deepEqual([slow.hand.size, idle.hand.size], [0, 0])
    assert.deepEqual([world.state.holders.size, world.state.copies.size], [0, 0])
  })
})
