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
  tick,
  warmAhead,
} from '../../../src/core/scheduler/transitions.ts'
import type { Level } from '../../../src/protocol/contexts/context.ts'
import { driver, replyOf, request, withJob } from './support/scheduler-driver.ts'
import { CONTEXT } from './support/scheduler-world.ts'

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
  const state = withJob()
  addTasks(state, 1, 0, 1, 0)
  const worker = driver(state, 'w1')
  assert.deepEqual(worker({ room: 0, contexts: [] }).warm, [CONTEXT])
  cancelJob(state, 1, 0)
  assert.deepEqual(worker({}).warm, [CONTEXT], 'it is kept for the next job')
  dropEverywhere(state, CONTEXT, 0)
  const { warm, discard } = worker({})
  assert.deepEqual({ warm, discard }, { warm: [], discard: [CONTEXT] })
  addJob(state, { id: 2, context: CONTEXT, function: 'f', priority: 0, retries: 0 })
  addTasks(state, 2, 1, 2, 0)
  assert.deepEqual(worker({ room: 0, contexts: [] }).warm, [CONTEXT])
})

test('contexts without work cost nothing, however many there are', () => {
  const state = createScheduler(1)
  for (const id of [CONTEXT, 'idle']) warmAhead(state, id, 0)
  addJob(state, { id: 1, context: CONTEXT, function: 'f', priority: 0, retries: 0 })
  addTasks(state, 1, 0, 5, 0)
  const unread = (): never => assert.fail('it looks at all contexts')
  state.contexts[Symbol.iterator] = unread
  for (const all of ['keys', 'values', 'entries', 'forEach'] as const) state.contexts[all] = unread
  const [worker, idle] = [driver(state, 'w1'), driver(state, 'w2')]
  const [lease] = worker({ rate: 10 }).leases
  assert.equal(lease?.tasks.length, 5)
  idle({ rate: 1 })
  idle({ rate: 1, waitMs: 100_000 })
  worker({ rate: 1, leases: [lease.lease], room: 0, now: 49_000, waitMs: 100_000 })
  tick(state, 50_000)
  assert.equal(state.copies.size, 5, 'the tail is looked after')
})

test('a worker changes its context only for work that lasts longer than loading takes', () => {
  const other = 'b'.repeat(64)
  const warmWhen = (waiting: number) => {
    const state = withJob()
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

const OTHER = 'b'.repeat(64)
const held = (level: Level, context = OTHER) => ({ context, level, attempts: 1, fetchMs: 500, loadMs: 700 })

/** Work without end for two contexts. */
function twoJobs(priority = 0) {
  const state = withJob({ turnMs: 5_000 })
  addTasks(state, 1, 0, 1_000, 0)
  const add = () => {
    addJob(state, { id: 2, context: OTHER, function: 'f', priority, retries: 0 })
    addTasks(state, 2, 1_000, 2_000, 0)
  }
  return { state, add }
}

test('contexts that a worker holds loaded take turns on it, however much waits', () => {
  const { state, add } = twoJobs()
  const worker = driver(state, 'w1')
  const contexts = [held('memory', CONTEXT), held('memory')]
  const warmAt = (now: number) => worker({ room: 0, contexts, now }).warm
  assert.deepEqual(warmAt(0), [CONTEXT])
  add()
  assert.deepEqual(warmAt(4_999), [CONTEXT])
  assert.deepEqual(warmAt(5_000), [OTHER])
  assert.deepEqual(warmAt(9_999), [OTHER])
  assert.deepEqual(warmAt(10_000), [CONTEXT])
})

test('three take turns too, each when its last one was the longest ago', () => {
  const { state, add } = twoJobs()
  add()
  const third = 'd'.repeat(64)
  addJob(state, { id: 3, context: third, function: 'f', priority: 0, retries: 0 })
  addTasks(state, 3, 2_000, 2_010, 0)
  const worker = driver(state, 'w1')
  const contexts = [CONTEXT, OTHER, third].map((id) => held('memory', id))
  const turns = [0, 5, 10, 15, 20, 25].map((s) => worker({ room: 0, contexts, now: s * 1_000 }).warm[0])
  assert.equal(new Set(turns.slice(0, 3)).size, 3)
  assert.deepEqual(turns.slice(3), turns.slice(0, 3))
})

test('what would have to be loaded first waits in proportion to what that takes', () => {
  const { state, add } = twoJobs()
  const worker = driver(state, 'w1')
  // It was here before, so what it takes is known.
  worker({ room: 0, contexts: [held('memory', CONTEXT), held('memory')] })
  add()
  const warmAt = (level: Level, now: number) =>
    worker({ room: 0, contexts: [held('memory', CONTEXT), held(level)], now }).warm
  assert.deepEqual(warmAt('disk', 6_999), [CONTEXT])
  assert.deepEqual(warmAt('absent', 11_999), [CONTEXT])
  assert.deepEqual(warmAt('disk', 11_999), [OTHER])
})

test('more priority need not wait for its turn where it is loaded', () => {
  const { state, add } = twoJobs(1)
  const worker = driver(state, 'w1')
  const contexts = [held('memory', CONTEXT), held('memory')]
  worker({ room: 0, contexts })
  add()
  assert.deepEqual(worker({ room: 0, contexts }).warm, [OTHER])
  assert.deepEqual(worker({ room: 0, contexts, now: 60_000 }).warm, [OTHER], 'what has less waits')
})

test('a context is left to workers that hold it loaded', () => {
  const { state, add } = twoJobs()
  const workers = ['w1', 'w2', 'w3', 'w4'].map((id) => driver(state, id))
  const both = [held('memory', CONTEXT), held('memory')]
  const without = [held('memory', CONTEXT)]
  const warm = (which: number) => workers[which]!({ room: 0, contexts: which === 3 ? both : without }).warm[0]
  assert.deepEqual([0, 1, 2, 3].map(warm), [CONTEXT, CONTEXT, CONTEXT, CONTEXT])
  add()
  assert.deepEqual([0, 1, 2].map(warm), [CONTEXT, CONTEXT, CONTEXT])
  assert.equal(warm(3), OTHER)
  assert.equal(warm(0), OTHER, 'no other holds it now, and it has fewer workers than its share')
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
