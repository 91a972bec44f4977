import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  addJob,
  addTasks,
  cancelJob,
  createScheduler,
  dropEverywhere,
  exchange,
  join,
  warmAhead,
} from '../../src/core/scheduler.ts'
import { driver, replyOf, request } from './driver.ts'
import { CONTEXT } from './world.ts'

test('what users want ahead is told to workers that have nothing else to fetch, also to those yet to come', () => {
  const state = createScheduler(1)
  const other = 'b'.repeat(64)
  addJob(state, { id: 1, context: CONTEXT, function: 'f', priority: 0, retries: 0 })
  addTasks(state, 1, 0, 9, 0)
  const early = driver(state, 'w1')
  assert.deepEqual(early({ room: 0 }).ahead, [])
  early({ room: 0, waitMs: 1_000 })
  assert.deepEqual(replyOf(warmAhead(state, other, 0))?.ahead, [other])
  const late = driver(state, 'w2')
  assert.deepEqual(late({ room: 0, contexts: [] }).ahead, [], 'it fetches what there is work for')
  assert.deepEqual(late({ contexts: [{ context: CONTEXT, level: 'disk', attempts: 1 }] }).ahead, [other])
  dropEverywhere(state, other, 0)
  const { ahead, discard } = late({})
  assert.deepEqual({ ahead, discard }, { ahead: [], discard: [other] })
  assert.deepEqual(late({}).discard, [], 'it is told once')
})

test('a context that users drop is let go of though nothing else is wanted, and comes back with the next work', () => {
  const state = createScheduler(1)
  addJob(state, { id: 1, context: CONTEXT, function: 'f', priority: 0, retries: 0 })
  addTasks(state, 1, 0, 1, 0)
  const worker = driver(state, 'w1')
  assert.deepEqual(worker({ room: 0, contexts: [] }).warm, [CONTEXT])
  cancelJob(state, 1, 0)
  assert.deepEqual(worker({}).warm, [CONTEXT], 'it is kept for the next job')
  dropEverywhere(state, CONTEXT, 0)
  const { warm, drop, discard } = worker({})
  assert.deepEqual({ warm, drop, discard }, { warm: [], drop: [CONTEXT], discard: [CONTEXT] })
  addJob(state, { id: 2, context: CONTEXT, function: 'f', priority: 0, retries: 0 })
  addTasks(state, 2, 1, 2, 0)
  assert.deepEqual(worker({ room: 0, contexts: [] }).warm, [CONTEXT])
})

test('a worker changes its context only for work that lasts longer than loading takes', () => {
  const other = 'b'.repeat(64)
  const warmWhen = (waiting: number) => {
    const state = createScheduler(1)
    addJob(state, { id: 1, context: CONTEXT, function: 'f', priority: 0, retries: 0 })
    addTasks(state, 1, 0, 3_000, 0)
    const [first] = ['w1', 'w2', 'w3'].map((id) => driver(state, id)).filter((worker) => worker({ room: 0 }))
    addJob(state, { id: 2, context: other, function: 'f', priority: 0, retries: 0 })
    addTasks(state, 2, 10_000, 10_000 + waiting, 0)
    const late = driver(state, 'w4')
    assert.deepEqual(late({ room: 0, contexts: [] }).warm, [other])
    const report = { context: other, level: 'memory' as const, attempts: 1, fetchMs: 20_000, loadMs: 10_000 }
    late({ room: 0, contexts: [report], rate: 100 })
    return first!({ room: 0 }).warm
  }
  assert.deepEqual(warmWhen(2_900), [CONTEXT], 'what has it is done in 29 s')
  assert.deepEqual(warmWhen(3_100), [other])
})

test('two contexts share the workers in proportion to what waits', () => {
  const state = createScheduler(1)
  const other = 'b'.repeat(64)
  addJob(state, { id: 1, context: CONTEXT, function: 'f', priority: 0, retries: 0 })
  addJob(state, { id: 2, context: other, function: 'f', priority: 0, retries: 0 })
  addTasks(state, 1, 0, 3_000, 0)
  addTasks(state, 2, 3_000, 4_000, 0)
  const warm = Array.from({ length: 8 }, (_, i) => {
    join(state, { id: `w${i}`, node: 'n', slots: 1 }, 0)
    return replyOf(exchange(state, `w${i}`, request({ contexts: [] }), 0))!.warm
  })
  const counts = {
    a: warm.filter(([id]) => id === CONTEXT).length,
    b: warm.filter(([id]) => id === other).length,
  }
  assert.deepEqual(counts, { a: 6, b: 2 })
})
