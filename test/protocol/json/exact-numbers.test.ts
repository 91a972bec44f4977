import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  isSameNumber,
  losesNothing,
  numberOf,
  parseExactly,
  stringifyExactly,
  toNative,
  toShown,
} from '../../../src/protocol/json/exact-numbers.ts'

const digits = fc.stringMatching(/^(0|[1-9][0-9]{0,25})$/)
const numberText = fc
  .tuple(
    fc.constantFrom('', '-'),
    digits,
    fc.stringMatching(/^(\.[0-9]{1,20})?$/),
    fc.stringMatching(/^([eE][+-]?[0-9]{1,3})?$/),
  )
  .map((parts) => parts.join(''))

describe('numbers of JSON', () => {
  test('are written as they were read, whatever they are and wherever they stand', () => {
    const value = fc.letrec<{ value: string }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 3 },
        numberText,
        fc.string().map((text) => JSON.stringify(text)),
        fc.array(tie('value'), { maxLength: 4 }).map((items) => `[${items.join(',')}]`),
        fc
          .array(tie('value'), { maxLength: 4 })
          .map((items) => `{${items.map((item, i) => `"k${i}":${item}`).join(',')}}`),
      ),
    })).value
    fc.assert(
      fc.property(value, (text) => assert.equal(JSON.stringify(parseExactly(text)), text)),
      { numRuns: 1000 },
    )
  })

  test('are read past any space', () => {
    assert.equal(
      JSON.stringify(parseExactly('[ 1.50,\n\t-0 , {"a" : 9007199254740993}]')),
      '[1.50,-0,{"a":9007199254740993}]',
    )
  })

  test('beyond 2^53 are bigints for programs, and come back as they were', () => {
    const text = '{"id":1234567890123456789,"near":[12345678901234567000,9007199254740991],"x":0.5,"y":1e21}'
    const value = toNative(parseExactly(text))
    assert.deepEqual(value, {
      id: 1234567890123456789n,
      near: [12345678901234567000n, 9007199254740991],
      x: 0.5,
      y: 1e21,
    })
    assert.equal(stringifyExactly(value), text.replace('1e21', '1e+21'))
  })

  test('that no number of JavaScript holds stay their text', () => {
    assert.equal(stringifyExactly(toNative(parseExactly('[1e400]'))), '[1e400]')
  })

  test('beyond 2^53 are texts for templates', () => {
    assert.deepEqual(toShown(parseExactly('[1234567890123456789,1.50,1e400]')), [
      '1234567890123456789',
      1.5,
      '1e400',
    ])
  })

  test('are the same when they differ in how they are written only', () => {
    for (const [a, b] of [
      ['1', '1.0'],
      ['100', '1e2'],
      ['0.5', '5e-1'],
      ['-0', '0'],
      ['1e400', '10E399'],
    ] as const) {
      assert.ok(isSameNumber(a, b), `${a} ${b}`)
    }
    for (const [a, b] of [
      ['1', '-1'],
      ['10', '1'],
      ['1234567890123456789', '1234567890123456800'],
    ] as const) {
      assert.ok(!isSameNumber(a, b), `${a} ${b}`)
    }
    assert.ok(losesNothing(parseExactly('[1.50,-0,1e2,{"a":20}]')))
    assert.ok(!losesNothing(parseExactly('{"a":[9007199254740993]}')))
  })

  test('cannot be smuggled in by what only looks like one', () => {
    assert.equal(stringifyExactly(parseExactly('{"rawJSON":"1.50","x":1.50}')), '{"rawJSON":"1.50","x":1.50}')
    assert.equal(JSON.stringify([numberOf('7')]), '[7]')
    const circular: Record<string, unknown> = {}
    circular['self'] = circular
    assert.throws(() => stringifyExactly(circular), TypeError)
  })
})
