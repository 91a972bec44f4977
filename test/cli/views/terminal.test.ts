import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { cleanOutput, styled, toTerminal } from '../../../src/cli/views/terminal.ts'

// eslint-disable-next-line no-control-regex
const DANGEROUS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/

describe('what leaves for a terminal', () => {
  test('holds nothing that a terminal acts on but line breaks and tabs, and is otherwise as it was', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        assert.doesNotMatch(toTerminal(text), DANGEROUS)
        if (!DANGEROUS.test(text)) assert.equal(toTerminal(text), text)
      }),
    )
    assert.equal(
      toTerminal('\x1b]0;owned\x07 \x9b2J \u202egpj'),
      '\\u001b]0;owned\\u0007 \\u009b2J \\u202egpj',
    )
    assert.equal(toTerminal('größer 日本語 ✔\tx\r\ny\n'), 'größer 日本語 ✔\tx\ny\n')
  })

  test('is JSON with the same values if it was JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.string({ unit: 'binary' }), (value, text) => {
        const json = JSON.stringify({ value, text }, null, 2)
        assert.deepEqual(JSON.parse(toTerminal(json)), JSON.parse(json))
      }),
    )
  })

  test('has the program’s own styles on a terminal only, and none of a text from elsewhere', (t) => {
    const stream = Object.assign(new PassThrough(), { isTTY: true }) as unknown as NodeJS.WriteStream
    cleanOutput(stream)
    const before = { ...process.env }
    t.after(() => Object.assign(process.env, before))
    delete process.env['NO_COLOR']
    process.env['TERM'] = 'xterm'
    stream.write(styled('well \x1b[31m', 'green', stream))
    assert.equal((stream.read() as unknown as Buffer).toString(), '\x1b[32mwell \\u001b[31m\x1b[0m')
    process.env['NO_COLOR'] = '1'
    assert.equal(styled('well', 'green', stream), 'well')
    delete process.env['NO_COLOR']
    assert.equal(styled('well', 'green', new PassThrough() as unknown as NodeJS.WriteStream), 'well')
  })

  test('may hold the program’s own sequences, each written alone', () => {
    const stream = new PassThrough() as unknown as NodeJS.WriteStream
    cleanOutput(stream)
    for (const own of ['\x1b[H\x1b[2J', '\x1b[12A', '\x1b[0J']) stream.write(own)
    stream.write('name \x1b[2J\n')
    stream.write(Buffer.from('\x1b[31m\n'))
    const all = (stream.read() as Buffer).toString()
    assert.equal(all, '\x1b[H\x1b[2J\x1b[12A\x1b[0Jname \\u001b[2J\n\\u001b[31m\n')
  })
})
