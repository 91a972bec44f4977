import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { startCall } from '../../../src/client/functions/call.ts'
import type { TaskFuture } from '../../../src/client/functions/task-future.ts'
import type { JobCalls } from '../../../src/client/functions/job-calls.ts'
import { decode, encode } from '../../../src/client/functions/value-codec.ts'
import { DependencyError, RemoteError } from '../../../src/client/index.ts'
import type { ResultRow } from '../../../src/protocol/client.ts'

/** A factory of adders: a call ends when it is told to, with the sum of its arguments or with an error. */
function adders() {
  const handed: { args: number[]; end: (error?: string) => void; cancelled: boolean }[] = []
  const calls: JobCalls = {
    submit({ json }) {
      const { promise, resolve } = Promise.withResolvers<ResultRow>()
      const args = decode(json) as number[]
      const key = `k${handed.length}`
      const row = { cursor: 1, key, ms: 1, worker: 'w7', node: 'n1' }
      const entry = {
        args,
        cancelled: false,
        end: (message?: string) =>
          resolve(
            message === undefined
              ? { ...row, status: 'done', value: encode(args.reduce((a, b) => a + b, 0)) }
              : {
                  ...row,
                  status: 'error',
                  error: { name: 'RangeError', message, stack: `RangeError: ${message}\n  at far` },
                },
          ),
      }
      handed.push(entry)
      return { key, row: promise, progress: () => undefined, cancel: () => void (entry.cancelled = true) }
    },
    close: () => Promise.resolve(),
  }
  const add = (args: unknown[], signal?: AbortSignal) =>
    startCall(args, {
      calls: () => calls,
      blobs: { get: () => Promise.resolve(new Map()) },
      signal,
    }) as TaskFuture<number>
  return { handed, add }
}

describe('a call', () => {
  test('is handed in at once, and its future says how it is', async () => {
    const { handed, add } = adders()
    const future = add([1, 2])
    assert.ok(future instanceof Promise)
    assert.deepEqual([handed.length, future.state, future.id], [1, 'queued', 'k0'])
    handed[0]!.end()
    assert.equal(await future, 3)
    assert.equal(future.state, 'done')
  })

  test('waits for the calls it depends on, and for no others', async () => {
    const { handed, add } = adders()
    const [left, right, other] = [add([1]), add([2]), add([50])]
    const top = add([left, right, 4])
    assert.deepEqual([top.state, top.id], ['waiting', undefined])
    handed[1]!.end()
    handed[0]!.end()
    await nextTurn()
    assert.deepEqual([top.state, handed[3]?.args], ['queued', [1, 2, 4]])
    handed[3]!.end()
    assert.equal(await top, 7)
    assert.equal(other.state, 'queued')
  })

  test('fails with the cause when one it depends on fails, and so do those that depend on it', async () => {
    const { handed, add } = adders()
    const bottom = add([1])
    const top = add([5, add([bottom])])
    handed[0]!.end('too much')
    await assert.rejects(top, (error: Error) => {
      assert.ok(error instanceof DependencyError)
      assert.match(
        error.message,
        /^argument 2 failed: DependencyError: argument 1 failed: RangeError: too much$/,
      )
      const root = (error.cause as Error).cause
      assert.ok(root instanceof RemoteError)
      assert.deepEqual([root.name, root.worker, root.node, root.task], ['RangeError', 'w7', 'n1', 'k0'])
      assert.equal(root.stack, 'RangeError: too much\n  at far')
      return true
    })
    assert.deepEqual([bottom.state, top.state, handed.length], ['failed', 'failed', 1])
  })

  test('can be cancelled while it waits and while it runs', async () => {
    const { handed, add } = adders()
    const below = add([1])
    const waiting = add([below])
    waiting.cancel(new Error('changed my mind'))
    await assert.rejects(waiting, /changed my mind/)
    below.cancel()
    await assert.rejects(below, { name: 'AbortError' })
    assert.deepEqual([below.state, waiting.state], ['cancelled', 'cancelled'])
    assert.ok(handed[0]!.cancelled)
    handed[0]!.end()
    await nextTurn()
    assert.equal(handed.length, 1)
    assert.equal(below.state, 'cancelled')
  })

  test('is cancelled by its signal', async () => {
    const { handed, add } = adders()
    const stop = new AbortController()
    const [running, finished] = [add([1], stop.signal), add([2], stop.signal)]
    handed[1]!.end()
    await finished
    stop.abort(new Error('evening'))
    await assert.rejects(running, /evening/)
    await assert.rejects(add([1], stop.signal), /evening/)
    assert.deepEqual([finished.state, handed.length], ['done', 2])
  })

  test('fails at once if its arguments cannot travel', async () => {
    await assert.rejects(adders().add([() => 1]), /function at value\[0\]/)
  })
})
