import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { addLease, matching, queuedIn } from '../../../src/pilot/tasks/task-queue.ts'
import { until } from '../../support/until.ts'
import { begin, CONTEXT, ended, lease, outcomes } from './session-stage.ts'

/** A module whose function never ends if told so; then it says that it has begun. */
const MAY_HANG = `
  export const run = (input) => {
    if (input !== 'hang') return input
    globalThis[Symbol.for('gleaner.progress')](1)
    return new Promise(() => setInterval(() => {}, 1e6))
  }`

describe('a call that was cancelled and does not end', () => {
  const isHung = matching([1], [])
  const NEXT = { ...lease([]), lease: 2, tasks: [{ task: 2, input: 'next' }] }
  const hang = async (cancelledMs: number) => {
    const stage = await begin(MAY_HANG, [lease(['hang'])], { cancelledMs })
    await until(() => stage.session.progress.length > 0)
    return stage
  }

  test('ends with its library', async () => {
    await using stage = await hang(0)
    addLease(stage.taskQueue, NEXT)
    stage.feed()
    stage.session.forget(isHung, isHung)
    const end = await stage.session.over
    assert.ok(end.how === 'died' && !end.idle)
    assert.match(end.error.message, /was cancelled/)
    assert.deepEqual([...outcomes(stage).keys()], [1])
    assert.equal(queuedIn(stage.taskQueue, CONTEXT), 1, 'what waited behind it is for the next library')
  })

  test('may go on for a while', async () => {
    await using stage = await hang(60_000)
    stage.session.forget(isHung, isHung)
    addLease(stage.taskQueue, NEXT)
    stage.feed()
    assert.equal(stage.session.calls, 2)
  })

  test('goes on if only its lease was revoked: its value may still be the first', async () => {
    await using stage = await hang(0)
    stage.session.forget(isHung, matching([], []))
    addLease(stage.taskQueue, NEXT)
    stage.feed()
    assert.equal(stage.session.calls, 2)
  })
})

describe('a call that hangs', () => {
  test('meets its time limit, and the calls that wait behind it run elsewhere', async () => {
    await using stage = await begin(
      `export function run(x) {
        while (x === 'hang');
        return new Promise((done) => setTimeout(done, 20, x))
      }`,
      [lease(['a', 'hang', 'b'], { timeLimitMs: 400 })],
    )
    const end = await stage.session.over
    assert.ok(end.how === 'died' && !end.idle)
    const found = outcomes(stage)
    const hung = found.get(2)
    assert.ok(hung?.status === 'crash')
    assert.equal(hung.error.name, 'TimeLimit')
    assert.equal(queuedIn(stage.taskQueue, CONTEXT), 3 - found.size)
    assert.ok(found.size < 3)
  })

  test('counts from its beginning, not from when it was sent', async () => {
    await using stage = await begin(
      `export const run = (x) => new Promise((done) => setTimeout(done, 150, x))`,
      [lease([1, 2, 3, 4], { timeLimitMs: 400 })],
    )
    await ended(stage, 4)
    assert.ok([...outcomes(stage).values()].every(({ status }) => status === 'done'))
  })
})
