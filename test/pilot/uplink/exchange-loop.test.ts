import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type WakeUp, createWakeUp } from '../../../src/common/wake-up.ts'
import { exchangeUntilOver, type ExchangeParty } from '../../../src/pilot/uplink/exchange-loop.ts'
import type { ExchangeRequest, ExchangeResponse } from '../../../src/protocol/worker.ts'

const NOTHING = {
  leases: [],
  cancel: [],
  revoke: [],
  warm: [],
  ahead: [],
  discard: [],
  again: [],
  shells: [],
}
const EMPTY: ExchangeResponse = { ...NOTHING, drain: false }

/** One request on its way, to be answered by the test. */
interface Sent {
  request: ExchangeRequest
  signal: AbortSignal
  answer: (answer?: Partial<ExchangeResponse>) => void
  fail: (error: Error) => void
}

/** A party that is idle until it has news, and a manager that the test plays. */
function start() {
  const wakeUp: WakeUp = createWakeUp()
  const stop = new AbortController()
  const requests: Sent[] = []
  const applied: ExchangeResponse[] = []
  let arrived = Promise.withResolvers<void>()
  const state = { unreportedSince: undefined as number | undefined, starving: true, over: false }
  const party: ExchangeParty = {
    moment: () => ({ now: performance.now(), rate: 0, warming: false, ...state }),
    compose(waitMs) {
      state.unreportedSince = undefined
      return { results: [], leases: [], contexts: [], want: [], rate: 0, waitMs }
    },
    apply: (answer) => void applied.push(answer),
    isOver: () => state.over,
  }
  const send = (request: ExchangeRequest, signal: AbortSignal) =>
    new Promise<ExchangeResponse>((resolve, reject) => {
      const answer: Sent['answer'] = (given = {}) => resolve({ ...EMPTY, ...given })
      // As a connection that is given up does: not at once.
      signal.addEventListener('abort', () => setImmediate(() => reject(signal.reason as Error)))
      requests.push({ request, signal, answer, fail: reject })
      arrived.resolve()
    })
  const done = exchangeUntilOver({ party, send, wakeUp, workerTimeoutMs: 30_000, signal: stop.signal })
  return {
    state,
    applied,
    done,
    stop,
    news() {
      state.unreportedSince ??= performance.now()
      wakeUp.wake()
    },
    end() {
      state.over = true
      wakeUp.wake()
    },
    wake: () => wakeUp.wake(),
    /** The next request that is sent. */
    async next(): Promise<Sent> {
      while (requests.length === 0) {
        await arrived.promise
        arrived = Promise.withResolvers()
      }
      return requests.shift()!
    },
  }
}

describe('the exchange loop', () => {
  test('sends one request at a time, numbered without gaps, and takes in each answer', async () => {
    const run = start()
    for (const seq of [0, 1, 2]) {
      const { request, answer } = await run.next()
      assert.equal(request.seq, seq)
      answer({ cancel: [seq] })
    }
    const last = await run.next()
    run.end()
    last.answer()
    await run.done
    assert.deepEqual(
      run.applied.map(({ cancel }) => cancel),
      [[0], [1], [2], []],
    )
  })

  test('leaves a request open while idle, and replaces it when there is news', async () => {
    const run = start()
    const poll = await run.next()
    assert.ok(poll.request.waitMs > 0)
    run.news()
    const told = await run.next()
    assert.ok(poll.signal.aborted)
    assert.deepEqual([told.request.seq, told.request.waitMs], [1, 0])
    run.end()
    told.answer()
    await run.done
    assert.equal(run.applied.length, 1, 'what was given up has no answer')
  })

  test('takes an answer that crosses with the news', async () => {
    const run = start()
    const poll = await run.next()
    poll.signal.addEventListener('abort', () => poll.answer({ cancel: [7] }))
    run.news()
    const next = await run.next()
    run.end()
    next.answer()
    await run.done
    assert.deepEqual(run.applied[0]?.cancel, [7])
  })

  test('never gives up a request that carries news', async () => {
    const run = start()
    run.news()
    const first = await run.next()
    const carrying = first.request.waitMs === 0 ? first : await run.next()
    run.news()
    run.wake()
    await new Promise(setImmediate)
    assert.ok(!carrying.signal.aborted)
    run.end()
    carrying.answer()
    await run.done
  })

  test('ends with the error of a request', async () => {
    const run = start()
    const poll = await run.next()
    poll.fail(new Error('revoked'))
    await assert.rejects(run.done, /revoked/)
  })

  test('ends with the reason it is stopped for, also while it waits', async () => {
    const polling = start()
    await polling.next()
    polling.stop.abort(new Error('too late'))
    await assert.rejects(polling.done, /too late/)

    const waiting = start()
    waiting.state.starving = false
    const first = await waiting.next()
    first.answer()
    await new Promise(setImmediate)
    waiting.stop.abort(new Error('too late'))
    waiting.wake()
    await assert.rejects(waiting.done, /too late/)
  })
})
