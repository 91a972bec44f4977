import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Call } from '../../../src/library/runtime/library-kind.ts'
import { createQueue } from '../../../src/library/runtime/call-queue.ts'

const call = (id: number): Call => ({ id, input: null })
const ids = (calls: readonly Call[] | undefined) => calls?.map(({ id }) => id)

describe('the queue of a library', () => {
  test('gives the calls of a function in the order they came, a window at a time', () => {
    const queue = createQueue()
    queue.add('f', [1, 2].map(call))
    queue.add('f', [3, 4, 5].map(call))
    assert.deepEqual(ids(queue.take(3)?.calls), [1, 2, 3])
    assert.deepEqual(ids(queue.take(3)?.calls), [4, 5])
    assert.equal(queue.take(3), undefined)
  })

  test('lets functions take turns', () => {
    const queue = createQueue()
    queue.add('busy', [1, 2, 3, 4].map(call))
    queue.add('rare', [5].map(call))
    const turns = [1, 2, 3].map(() => queue.take(2)?.name)
    assert.deepEqual(turns, ['busy', 'rare', 'busy'])
  })

  test('lets a call be forgotten until it is claimed', () => {
    const queue = createQueue()
    queue.add('f', [1, 2, 3].map(call))
    queue.forget([1, 77])
    const window = queue.take(10)?.calls ?? []
    queue.forget([2])
    assert.deepEqual(ids(queue.claim(window)), [3])
    assert.deepEqual(ids(queue.claim(window)), [], 'a call is claimed once')
    assert.equal(queue.size, 0)
  })

  test('hands out every call that is not forgotten exactly once', () => {
    const operation = fc.oneof(
      fc.record({ add: fc.constantFrom('f', 'g', 'h'), count: fc.integer({ min: 0, max: 5 }) }),
      fc.record({ forget: fc.nat(60) }),
      fc.record({ take: fc.integer({ min: 1, max: 4 }) }),
    )
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const queue = createQueue()
        let next = 0
        const added = new Set<number>()
        const forgotten = new Set<number>()
        const claimed: number[] = []
        const take = (max: number) => {
          const window = queue.take(max)
          if (!window) return false
          assert.ok(window.calls.length <= max)
          claimed.push(...(ids(queue.claim(window.calls)) ?? []))
          return true
        }
        for (const step of operations) {
          if ('add' in step) {
            const calls = Array.from({ length: step.count }, () => call(next++))
            calls.forEach(({ id }) => added.add(id))
            queue.add(step.add, calls)
          } else if ('forget' in step) {
            queue.forget([step.forget])
            if (added.has(step.forget) && !claimed.includes(step.forget)) forgotten.add(step.forget)
          } else take(step.take)
        }
        while (take(7));
        assert.deepEqual(
          claimed.toSorted((a, b) => a - b),
          [...added].filter((id) => !forgotten.has(id)),
        )
        assert.equal(queue.size, 0)
      }),
    )
  })
})
