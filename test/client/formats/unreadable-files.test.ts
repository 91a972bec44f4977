import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { foreignFormat } from '../../../src/client/formats/unreadable-files.ts'

describe('an input that is not lines of JSON', () => {
  const files: [string, Buffer, RegExp][] = [
    ['compressed with xz', Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]), /xz -dc/],
    ['a JSON array', Buffer.from(' [\n {"id":1},\n {"id":2}]'), /jq -c/],
    ['JSON over several lines', Buffer.from('{\n  "id": 1\n}\n'), /jq -c/],
    ['CSV', Buffer.from('id,claim\n1,"a claim"\n'), /--format [ct]sv/],
    ['CSV', Buffer.from('"id","claim"\n1,"a claim"\n'), /--format [ct]sv/],
    ['a table with tabs', Buffer.from('id\tclaim\n1\ta claim\n'), /--format [ct]sv/],
    ['UTF-16', Buffer.from('\ufeff{"id":1}\n', 'utf16le'), /iconv/],
  ]
  for (const [what, head, advice] of files) {
    test(`is called ${what}, with what to do`, () => {
      const found = foreignFormat(head, 'jsonl')
      assert.equal(found?.what, what)
      assert.match(found.advice, advice)
    })
  }

  test('a string that holds quotes and commas is no table', () => {
    assert.equal(foreignFormat(Buffer.from('"\\","\n'), 'jsonl'), undefined)
  })

  test('is none of these if its first line is an object or a string', () => {
    const task = fc.oneof(fc.string(), fc.object())
    fc.assert(
      fc.property(task, (value) => {
        assert.equal(foreignFormat(Buffer.from(`${JSON.stringify(value)}\n`), 'jsonl'), undefined)
      }),
    )
  })
})
