import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  after,
  canLoad,
  type ContextEvent,
  isClimbing,
  levelOf,
  loadedIn,
  reportOf,
  shouldTry,
  unknownContext,
} from '../../src/pilot/context.ts'

const ID = 'a'.repeat(64)
const error = { name: 'Error', message: 'no' }

/** The state after events, one every 100 ms. */
function lived(...events: ContextEvent[]) {
  return events.reduce((state, event, i) => after(state, event, (i + 1) * 100), unknownContext(ID))
}

const up: ContextEvent[] = [
  { type: 'asked' },
  { type: 'fetching' },
  { type: 'fetched' },
  { type: 'loading', slot: 0 },
  { type: 'loaded', slot: 0, level: 'memory', memory: 1000 },
]

describe("a context's way up", () => {
  test('leads from absent over disk to memory', () => {
    const levels = [0, 1, 2, 3, 4, 5].map((n) => levelOf(lived(...up.slice(0, n))))
    assert.deepEqual(levels, ['absent', 'absent', 'absent', 'disk', 'disk', 'memory'])
    const climbing = [0, 1, 2, 3, 4, 5].map((n) => isClimbing(lived(...up.slice(0, n))))
    assert.deepEqual(climbing, [false, false, true, false, true, false])
  })

  test('is reported with its progress and the time it took so far', () => {
    const fetching = lived(...up.slice(0, 2), { type: 'progress', bytesHeld: 5, bytesTotal: 10 })
    assert.deepEqual(reportOf(fetching, 500), {
      context: ID,
      level: 'absent',
      doing: 'fetching',
      bytesHeld: 5,
      bytesTotal: 10,
      fetchMs: 300,
      loadMs: 0,
      attempts: 1,
    })
    assert.deepEqual(reportOf(lived(...up), 9_000), {
      context: ID,
      level: 'memory',
      fetchMs: 100,
      loadMs: 100,
      memory: 1000,
      attempts: 1,
    })
  })

  test('a library that is gone leaves the files, and loading once more adds to the time', () => {
    const gone = lived(...up, { type: 'unloaded', slot: 0 })
    assert.equal(levelOf(gone), 'disk')
    assert.ok(canLoad(gone))
    const again = lived(...up, { type: 'unloaded', slot: 0 }, ...up.slice(3))
    assert.equal(reportOf(again, 9_000).loadMs, 200)
    assert.equal(reportOf(again, 9_000).fetchMs, 100)
  })

  test('a library that brings files of its own leaves none here, and its time is counted as fetching', () => {
    const apart = lived({ type: 'asked' }, { type: 'fetching' }, { type: 'fetched', apart: true })
    assert.equal(levelOf(apart), 'absent')
    assert.ok(canLoad(apart) && !shouldTry(apart, 9_000))
    const bringing = after(apart, { type: 'fetching', slot: 0 }, 1_000)
    assert.ok(isClimbing(bringing))
    assert.equal(loadedIn(bringing), 0)
    assert.deepEqual([reportOf(bringing, 1_050).doing, reportOf(bringing, 1_050).fetchMs], ['fetching', 150])
    const loading = after(bringing, { type: 'loading', slot: 0 }, 1_300)
    const report = reportOf(loading, 1_400)
    assert.deepEqual([report.doing, report.fetchMs, report.loadMs], ['loading', 400, 100])
    assert.equal(levelOf(after(loading, { type: 'unloaded', slot: 0 }, 1_500)), 'absent')
  })

  test('several slots count each for itself', () => {
    const two = lived(...up, { type: 'loading', slot: 1 }, { type: 'loaded', slot: 1, level: 'device' })
    assert.equal(loadedIn(two), 2)
    assert.equal(levelOf(two), 'device')
    assert.equal(loadedIn(after(two, { type: 'failed', slot: 1, error }, 0)), 1)
  })

  test('a failure is reported with its reason, and tried again only when asked, after a pause that doubles', () => {
    const failed = lived(...up.slice(0, 4), { type: 'failed', slot: 0, error })
    assert.deepEqual(reportOf(failed, 500).error, error)
    assert.equal(levelOf(failed), 'disk')
    assert.ok(!canLoad(failed))
    assert.ok(!shouldTry(failed, 500))
    assert.ok(shouldTry(failed, 1_000))
    const asked = after(failed, { type: 'asked' }, 1_000)
    assert.ok(canLoad(asked))
    assert.equal(reportOf(asked, 1_000).attempts, 2)
    assert.equal(reportOf(asked, 1_000).error, undefined)
    const twice = after(asked, { type: 'failed', slot: 0, error }, 1_000)
    assert.ok(!shouldTry(twice, 1_900))
    assert.ok(shouldTry(twice, 2_000))
  })

  test('a failure that is excused may be tried again at once', () => {
    const failed = lived(...up.slice(0, 4), { type: 'failed', slot: 0, error })
    assert.ok(!shouldTry(failed, 500))
    assert.ok(shouldTry(after(failed, { type: 'excused' }, 500), 500))
    assert.equal(reportOf(after(failed, { type: 'excused' }, 500), 500).error, error)
  })

  test('a fetch that fails is over', () => {
    const failed = lived(...up.slice(0, 2), { type: 'failed', error })
    assert.equal(levelOf(failed), 'absent')
    assert.ok(!isClimbing(failed))
    assert.equal(reportOf(failed, 900).fetchMs, 100)
  })

  test('released files are believed to be there still, but must be taken hold of again', () => {
    const left = lived(...up.slice(0, 3), { type: 'released' })
    assert.equal(levelOf(left), 'disk')
    assert.ok(!canLoad(left))
    assert.ok(shouldTry(left, 900))
    const stopped = lived(...up.slice(0, 2), { type: 'released' })
    assert.equal(levelOf(stopped), 'absent')
    assert.ok(shouldTry(stopped, 900))
  })
})
