import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { decode, encode, pack, EncodedValue, unpack } from '../../../src/client/functions/value-codec.ts'
import { refOf } from '../../../src/blobs/blob-folder.ts'
import { limits } from '../../../src/protocol/limits.ts'

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

/** Through the wire and back, large parts apart. */
function travelApart(value: unknown): { back: unknown; length: number; parts: number } {
  const { json, parts } = pack(value)
  const text = JSON.stringify(json)
  const blobs = new Map(parts.map(({ ref, bytes }) => [ref.sha256, Buffer.from(bytes!)]))
  for (const { ref, bytes } of parts) assert.deepEqual(refOf(bytes!), ref)
  const back = unpack(JSON.parse(text) as never, ({ sha256 }) => blobs.get(sha256)!)
  return { back, length: text.length, parts: parts.length }
}

describe('a value with large parts', () => {
  const N = limits.inline
  const floats = new Float32Array(N / 4).map((_, i) => i)
  const memory = new Uint16Array(N).fill(7)
  /** Around the threshold, and far beyond it. */
  const large = fc.constantFrom<unknown>(
    'x'.repeat(N - 1),
    'x'.repeat(N),
    'ä€'.repeat(N),
    `\ud800${'x'.repeat(N)}`,
    floats,
    floats.subarray(0, N / 4 - 1),
    memory.subarray(3, N - 3),
    new DataView(memory.buffer, 2, N),
    memory.buffer,
    Buffer.alloc(N, 'b'),
    new BigInt64Array(N / 8).fill(-3n),
    Array.from({ length: N / 4 }, (_, i) => ({ i })),
    new Map([['deep', Array.from({ length: N }, () => 'y')]]),
  )
  const small = fc.oneof(fc.string(), fc.integer(), fc.constant(undefined), fc.date({ noInvalidDate: true }))
  const values = fc.array(fc.oneof(large, small, fc.record({ a: large, b: small })), { maxLength: 4 })

  test('arrives as it was, and the rest of it is short', () => {
    fc.assert(
      fc.property(values, (value) => {
        const { back, length } = travelApart(value)
        assert.deepEqual(back, value)
        assert.ok(length < 2 * N, `${length} characters are left`)
      }),
      { numRuns: 60 },
    )
  })

  test('has each part once, and no two parts that share memory', () => {
    const { back, parts } = travelApart([floats, { again: floats.slice() }, floats.slice()])
    assert.equal(parts, 1)
    const [one, two, three] = back as [Float32Array, { again: Float32Array }, Float32Array]
    one[0] = 99
    two.again[0] = 98
    assert.equal(three[0], 0)
  })

  test('may have thousands of them, and be long without any', () => {
    const many = Array.from({ length: 700 }, (_, i) => Buffer.alloc(N, i))
    const { back, length, parts } = travelApart(many)
    assert.deepEqual(back, many)
    assert.ok(parts <= limits.blobs && length < limits.value)
    const long = Array.from({ length: 200_000 }, (_, i) => i)
    assert.deepEqual(travelApart([long, 1]), {
      back: [long, 1],
      length: travelApart([long, 1]).length,
      parts: 1,
    })
  })

  test('travels on without being looked at', () => {
    const first = pack({ list: floats, name: 'n' })
    const blobs = first.parts.map(({ ref }) => ref)
    const second = pack([1, new EncodedValue(first.json, blobs), new EncodedValue(first.json, blobs)])
    assert.deepEqual(second.parts, [{ ref: blobs[0] }])
    const back = unpack(second.json, () => Buffer.from(floats.buffer)) as unknown[]
    assert.deepEqual(back, [1, { list: floats, name: 'n' }, { list: floats, name: 'n' }])
  })
})
