import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { decode, encode } from '../../../src/client/app/values.ts'

/** Through the wire and back. */
const travel = (value: unknown): unknown => decode(JSON.parse(JSON.stringify(encode(value))) as never)

describe('a value that travels', () => {
  test('arrives as it was', () => {
    const values = fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withSet: true,
      withTypedArray: true,
      withSparseArray: true,
      withNullPrototype: true,
    })
    // What devalue refuses to build is refused at once, which is fine too.
    const isRefused = (value: unknown) =>
      inspect(value, { depth: Infinity, maxArrayLength: Infinity }).includes('__proto__')
    fc.assert(
      fc.property(values, (value) => {
        fc.pre(!isRefused(value))
        assert.deepEqual(travel(value), value)
      }),
      { numRuns: 500 },
    )
  })

  test('may be a Buffer, empty or full, and comes back as one', () => {
    for (const text of ['', 'some bytes']) {
      const [back] = travel([Buffer.from(text)]) as [Buffer]
      assert.ok(Buffer.isBuffer(back))
      assert.equal(back.toString(), text)
    }
  })

  test('takes along of its memory only what it shows', () => {
    const memory = new Float64Array([1, 2, 3, 4])
    const back = travel(memory.subarray(1, 3)) as Float64Array
    assert.deepEqual(back, new Float64Array([2, 3]))
    assert.equal(back.buffer.byteLength, 16)
    const view = travel(new DataView(memory.buffer, 8, 8)) as DataView
    assert.deepEqual([view.byteLength, view.getFloat64(0, true)], [8, 2])
  })

  test('may refer to itself', () => {
    const loop: { self?: unknown } = {}
    loop.self = loop
    const back = travel(loop) as typeof loop
    assert.equal(back.self, back)
  })

  test('is refused, with its place, if it is a function or of a class of the user', () => {
    class Model {}
    assert.throws(() => encode([{ f: () => 1 }]), /function at value\[0\]\.f: give plain objects/)
    assert.throws(() => encode({ a: [new Model()] }), /at value\.a\[0\]/)
  })
})
