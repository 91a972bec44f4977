import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  nextContextState,
  canLoad,
  type ContextEvent,
  isWarming,
  levelOf,
  loadedIn,
  reportOf,
  shouldFetchNow,
  unknownContext,
} from '../../../src/pilot/contexts/context-state.ts'

const ID = 'a'.repeat(64)
const error = { name: 'Error', message: 'no' }

/** The state after events, one every 100 ms. */
function lived(...events: ContextEvent[]) {
  return events.reduce((state, event, i) => nextContextState(state, event, (i + 1) * 100), unknownContext(ID))
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
    const warming = [0, 1, 2, 3, 4, 5].map((n) => isWarming(lived(...up.slice(0, n))))
    assert.deepEqual(warming, [false, false, true, false, true, false])
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
      loadedIn: [0],
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
    assert.ok(canLoad(apart) && !shouldFetchNow(apart, 9_000))
    const bringing = nextContextState(apart, { type: 'fetching', slot: 0 }, 1_000)
    assert.ok(isWarming(bringing))
    assert.equal(loadedIn(bringing), 0)
    assert.deepEqual([reportOf(bringing, 1_050).doing, reportOf(bringing, 1_050).fetchMs], ['fetching', 150])
    const loading = nextContextState(bringing, { type: 'loading', slot: 0 }, 1_300)
    const report = reportOf(loading, 1_400)
    assert.deepEqual([report.doing, report.fetchMs, report.loadMs], ['loading', 400, 100])
    assert.equal(levelOf(nextContextState(loading, { type: 'unloaded', slot: 0 }, 1_500)), 'absent')
  })

  test('several slots count each for itself', () => {
    const two = lived(...up, { type: 'loading', slot: 1 }, { type: 'loaded', slot: 1, level: 'device' })
    assert.equal(loadedIn(two), 2)
    assert.equal(levelOf(two), 'device')
    assert.equal(loadedIn(nextContextState(two, { type: 'failed', slot: 1, error }, 0)), 1)
  })

  test('a failure is reported with its reason, and tried again only when asked, after a pause that doubles', () => {
    const failed = lived(...up.slice(0, 4), { type: 'failed', slot: 0, error })
    assert.deepEqual(reportOf(failed, 500).error, error)
    assert.equal(levelOf(failed), 'disk')
    assert.ok(!canLoad(failed))
    assert.ok(!shouldFetchNow(failed, 500))
    assert.ok(shouldFetchNow(failed, 1_000))
    const asked = nextContextState(failed, { type: 'asked' }, 1_000)
    assert.ok(canLoad(asked))
    assert.equal(reportOf(asked, 1_000).attempts, 2)
    assert.equal(reportOf(asked, 1_000).error, undefined)
    const twice = nextContextState(asked, { type: 'failed', slot: 0, error }, 1_000)
    assert.ok(!shouldFetchNow(twice, 1_900))
    assert.ok(shouldFetchNow(twice, 2_000))
  })

  test('a failure that is excused may be tried again at once', () => {
    const failed = lived(...up.slice(0, 4), { type: 'failed', slot: 0, error })
    assert.ok(!shouldFetchNow(failed, 500))
    assert.ok(shouldFetchNow(nextContextState(failed, { type: 'excused' }, 500), 500))
    assert.equal(reportOf(nextContextState(failed, { type: 'excused' }, 500), 500).error, error)
  })

  test('a fetch that fails is over', () => {
    const failed = lived(...up.slice(0, 2), { type: 'failed', error })
    assert.equal(levelOf(failed), 'absent')
    assert.ok(!isWarming(failed))
    assert.equal(reportOf(failed, 900).fetchMs, 100)
  })

  test('released files are believed to be there still, but must be taken hold of again', () => {
    const left = lived(...up.slice(0, 3), { type: 'released' })
    assert.equal(levelOf(left), 'disk')
    assert.ok(!canLoad(left))
    assert.ok(shouldFetchNow(left, 900))
    const stopped = lived(...up.slice(0, 2), { type: 'released' })
    assert.equal(levelOf(stopped), 'absent')
    assert.ok(shouldFetchNow(stopped, 900))
  })
})
