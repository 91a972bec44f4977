import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { diff, isObject, patched, type JsonObject } from '../../../src/web/policy/merge-patch.ts'
import type { JsonValue } from '../../../src/protocol/primitives.ts'

/** Objects without null, which a patch cannot say; with few keys, so that two of them have some in common. */
const { object } = fc.letrec<{ value: JsonValue; object: JsonObject }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.integer(),
    fc.string(),
    fc.boolean(),
    fc.array(tie('value'), { maxLength: 3 }),
    tie('object'),
  ),
  object: fc.dictionary(fc.constantFrom('a', 'b', 'c', '__proto__', 'constructor'), tie('value')),
}))

/** The same by its own keys alone. */
const plain = (value: JsonValue): unknown =>
  isObject(value)
    ? Object.entries(value)
        .map(([key, inner]) => [key, plain(inner)])
        .sort()
    : Array.isArray(value)
      ? value.map(plain)
      : value

describe('a patch', () => {
  test('of any two objects makes the second of the first, sent as text', () => {
    fc.assert(
      fc.property(object, object, (before, after) => {
        const patch = JSON.parse(JSON.stringify(diff(before, after) ?? {})) as JsonObject
        assert.deepEqual(plain(patched(before, patch)), plain(after))
      }),
    )
  })

  test('is only there if something has changed', () => {
    fc.assert(fc.property(object, (value) => assert.equal(diff(value, structuredClone(value)), undefined)))
  })

  test('says nothing of what has not changed, and leaves the object that it is for as it is', () => {
    const before = { workers: { w1: { rate: 1, node: 'n' }, w2: { rate: 2 } }, now: 1 }
    const patch = diff(before, { workers: { w1: { rate: 5, node: 'n' } }, now: 1 })!
    assert.equal(JSON.stringify(patch), '{"workers":{"w2":null,"w1":{"rate":5}}}')
    patched(before, patch)
    assert.equal(before.workers.w1.rate, 1)
  })

  test('with a key that JavaScript gives a meaning to changes no prototype', () => {
    const after = patched({}, JSON.parse('{"__proto__":{"polluted":true}}') as JsonObject)
    assert.deepEqual(Object.keys(after), ['__proto__'])
    assert.equal(({} as { polluted?: boolean }).polluted, undefined)
  })
})
