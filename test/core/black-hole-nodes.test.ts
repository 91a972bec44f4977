import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { FAILED_TASKS, type NodeRecord, FAILED_PILOTS, blackHoles } from '../../src/core/black-hole-nodes.ts'

const node = (name: string, record: Partial<NodeRecord> = {}): NodeRecord => ({
  node: name,
  done: 0,
  failed: 0,
  stillborn: 0,
  registered: 1,
  ...record,
})

describe('a black hole', () => {
  test('is a node that fails its tasks while others finish theirs', () => {
    const records = [node('a', { done: 500, failed: 3 }), node('b', { failed: 200 }), node('c', { done: 90 })]
    assert.deepEqual(blackHoles(records), ['b'])
  })

  test('is a node where pilots die before they are up while they start elsewhere', () => {
    const records = [node('a', { registered: 9 }), node('b', { registered: 0, stillborn: FAILED_PILOTS })]
    assert.deepEqual(blackHoles(records), ['b'])
  })

  test('is not a node that has failed little yet', () => {
    assert.deepEqual(blackHoles([node('a', { done: 500 }), node('b', { failed: FAILED_TASKS - 1 })]), [])
  })

  test('is nowhere when the work itself is bad, or the site', () => {
    assert.deepEqual(blackHoles([node('a', { failed: 500 }), node('b', { failed: 300 })]), [])
    const dying = { registered: 0, stillborn: 20 }
    assert.deepEqual(blackHoles([node('a', dying), node('b', dying)]), [])
  })

  test('is never the only node, and never most of what works', () => {
    const counts = { done: fc.nat(100), failed: fc.nat(100), stillborn: fc.nat(9), registered: fc.nat(9) }
    // Where no worker came up, no task was tried.
    const record = fc
      .record(counts)
      .map((found) => (found.registered > 0 ? found : { ...found, done: 0, failed: 0 }))
    const records = fc.array(record, { minLength: 1, maxLength: 6 })
    fc.assert(
      fc.property(records, (list) => {
        const all = list.map((record, i) => ({ node: `n${i}`, ...record }))
        const found = blackHoles(all)
        assert.ok(found.length < all.length)
        for (const { node, done, failed } of all)
          if (done >= failed && all.find((r) => r.node === node)!.registered > 0)
            assert.ok(!found.includes(node))
      }),
    )
  })
})
