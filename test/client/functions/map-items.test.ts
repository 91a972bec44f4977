import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { TaskFuture } from '../../../src/client/functions/task-future.ts'
import { mapItems } from '../../../src/client/functions/map-items.ts'

/** A function whose calls end when they are told to. */
function held() {
  const calls = new Map<number, { resolve: (value: number) => void; reject: (reason: unknown) => void }>()
  const cancelled: number[] = []
  const call = (item: number) =>
    new TaskFuture<number>((resolve, reject) => calls.set(item, { resolve, reject }), {
      id: `${item}`,
      state: 'queued',
      progress: { state: 'queued', attempt: 1 },
      cancel: () => void cancelled.push(item),
      demand() {},
      parcel: () => Promise.resolve(undefined),
    })
  return { calls, cancelled, call }
}

const at = (item: number) =>
  new TaskFuture<number>((resolve) => resolve(item * 10), {
    id: '',
    state: 'done',
    progress: { state: 'done', attempt: 1 },
    cancel() {},
    demand() {},
    parcel: () => Promise.resolve(undefined),
  })

describe('a map', () => {
  test('yields each result once, from lists and from streams', async () => {
    async function* stream() {
      for (let i = 0; i < 100; i++) yield await Promise.resolve(i)
    }
    for (const items of [Array.from({ length: 100 }, (_, i) => i), stream()]) {
      const seen = new Map<number, number | undefined>()
      for await (const { input, value } of mapItems(at, items, { window: 7 })) seen.set(input, value)
      assert.deepEqual([...seen].filter(([input, value]) => value === input * 10).length, 100)
    }
  })

  test('yields results in the order in which they come, failures among them', async () => {
    const { calls, call } = held()
    const results = mapItems(call, [1, 2, 3])
    const first = results.next()
    await nextTurn()
    calls.get(3)!.resolve(30)
    assert.deepEqual(await first, { done: false, value: { index: 2, input: 3, value: 30 } })
    calls.get(1)!.reject(new RangeError('no'))
    assert.deepEqual((await results.next()).value, { index: 0, input: 1, error: new RangeError('no') })
    calls.get(2)!.resolve(20)
    assert.deepEqual((await results.next()).value, { index: 1, input: 2, value: 20 })
    assert.ok((await results.next()).done)
  })

  test('takes no more items than its window ahead of the reader', async () => {
    const { calls, call } = held()
    let taken = 0
    function* source() {
      for (;;) yield taken++
    }
    const results = mapItems(call, source(), { window: 4 })
    const first = results.next()
    for (let i = 0; i < 20; i++) await nextTurn()
    assert.equal(calls.size, 4)
    calls.get(0)!.resolve(0)
    calls.get(1)!.resolve(0)
    await first
    for (let i = 0; i < 20; i++) await nextTurn()
    assert.equal(calls.size, 4, 'one was read, and one waits to be read')
    await results.next()
    const third = results.next()
    for (let i = 0; i < 20; i++) await nextTurn()
    assert.equal(calls.size, 6)
    calls.get(2)!.resolve(0)
    await third
    await results.return()
  })

  test('says how far it is', async () => {
    const { calls, call } = held()
    const results = mapItems(call, new Set([1, 2, 3]), { window: 2 })
    const first = results.next()
    await nextTurn()
    assert.deepEqual(results.progress, { done: 0, failed: 0, running: 2, total: 3, rate: 0 })
    calls.get(1)!.resolve(1)
    calls.get(2)!.reject(new Error('no'))
    await first
    const { rate, ...counts } = results.progress
    assert.deepEqual(counts, { done: 2, failed: 1, running: 0, total: 3 })
    assert.ok(rate > 0)
    await results.return()
    async function* stream() {
      yield await Promise.resolve(7)
    }
    const streamed = mapItems(at, stream())
    assert.equal(streamed.progress.total, undefined)
    await streamed.next()
    await streamed.next()
    assert.equal(streamed.progress.total, 1)
  })

  test('cancels what runs when its reader stops, and closes the source', async () => {
    const { calls, cancelled, call } = held()
    let closed = false
    function* source() {
      try {
        for (let i = 0; ; i++) yield i
      } finally {
        closed = true
      }
    }
    const results = mapItems(call, source(), { window: 3 })
    const first = results.next()
    await nextTurn()
    calls.get(1)!.resolve(1)
    await first
    await results.return()
    assert.ok(closed)
    assert.ok([0, 2].every((item) => cancelled.includes(item)))
  })

  test('hands out the results it has when its source breaks, and then throws', async () => {
    function* source() {
      yield 1
      throw new Error('torn')
    }
    const results = mapItems(at, source())
    assert.equal((await results.next()).value?.value, 10)
    await assert.rejects(results.next(), /torn/)
  })
})
