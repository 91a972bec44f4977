import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import type { OutRow } from '../../../src/client/formats/table-columns.ts'
import { kindOf, type FileKind } from '../../../src/client/formats/format-names.ts'
import { openInput, readRows, statedTypes } from '../../../src/client/formats/read-rows.ts'
import { openRowWriter } from '../../../src/client/formats/write-rows.ts'
import { parseExactly, stringifyExactly } from '../../../src/protocol/json/exact-numbers.ts'

const folder = await mkdtemp(join(tmpdir(), 'gleaner-formats-'))
after(() => rm(folder, { recursive: true }))

async function write(name: string, rows: OutRow[], stated?: ReadonlyMap<string, string>): Promise<string> {
  const path = join(folder, name)
  await using writer = await openRowWriter(path, kindOf(name) as FileKind, stated)
  for (const row of rows) await writer.add(row)
  await writer.finish()
  return path
}

/** The rows of a file as JSON, or what is wrong with them. */
async function read(path: string): Promise<unknown[]> {
  const rows = await Array.fromAsync(readRows(await openInput(path, path, undefined)))
  return rows.map((row): unknown =>
    'reason' in row ? `${row.place} ${row.reason}` : JSON.parse(stringifyExactly(row.value)!),
  )
}

const give = async (name: string, content: string | Uint8Array) => {
  const path = join(folder, name)
  await writeFile(path, content)
  return path
}

const rows: OutRow[] = [
  {
    own: { id: 'a', text: 'one, "two"\nthree\r\n' },
    result: { text: ' answer', tokens: { prompt: 3 }, list: [1, 2.5] },
  },
  { own: { id: 'b', text: 'ä\u2028🙂' }, result: { text: '', tokens: { prompt: 4 }, more: null } },
]

describe('rows that are written', () => {
  for (const name of ['a.csv', 'a.tsv', 'a.csv.gz', 'a.csv.zst']) {
    test(`to ${name} are read again as texts, each under its column`, async () => {
      assert.deepEqual(await read(await write(name, rows)), [
        {
          id: 'a',
          text: 'one, "two"\nthree\r\n',
          result_text: ' answer',
          'tokens.prompt': '3',
          list: '[1,2.5]',
          more: '',
        },
        { id: 'b', text: 'ä\u2028🙂', result_text: '', 'tokens.prompt': '4', list: '', more: '' },
      ])
    })
  }

  test('to Parquet keep their types, integers of 64 bits included', async () => {
    const large = parseExactly(
      '{"n":1234567890123456789,"list":[1.5,2],"mixed":1,"half":0.5,"is":true}',
    ) as object
    const found = await read(
      await write('a.parquet', [
        { own: { id: 1 }, result: { ...large } },
        { own: { id: 2 }, result: { n: -3, mixed: 'text', nested: { a: [{ b: 1 }] } } },
      ]),
    )
    assert.equal(
      (await readFile(join(folder, 'a.parquet'))).subarray(0, 4).toString(),
      'PAR1',
      'which it says of itself',
    )
    assert.deepEqual(found, [
      {
        id: 1,
        n: Number('1234567890123456789'),
        list: [1.5, 2],
        mixed: '1',
        half: 0.5,
        is: true,
        'nested.a': null,
      },
      { id: 2, n: -3, list: null, mixed: 'text', half: null, is: null, 'nested.a': '[{"b":1}]' },
    ])
    const exact = await Array.fromAsync(
      readRows(await openInput(join(folder, 'a.parquet'), 'a.parquet', undefined)),
    )
    assert.equal((exact[0] as { value: { n: bigint } }).value.n, 1234567890123456789n)
  })

  test('to Parquet again have the types that their file states', async () => {
    const stated = new Map([
      ['score', 'DOUBLE'],
      ['at', 'TIMESTAMP'],
      ['small', 'INT32'],
    ])
    const own = { score: 3, at: '2026-11-28T10:00:00.000Z', small: 7 }
    const path = await write('typed.parquet', [{ own, result: {} }], stated)
    assert.deepEqual(await statedTypes(await openInput(path, path, undefined)), stated)
    assert.deepEqual(await read(path), [own])
  })

  test('to JSONL keep every digit, and to a text file become one line each', async () => {
    const value = parseExactly('{"n":1.50,"big":12345678901234567890}') as Record<string, unknown>
    const path = await write('a.jsonl', [{ own: value, result: { n: 1 } }])
    assert.equal(await readFile(path, 'utf8'), '{"n":1.50,"big":12345678901234567890,"result_n":1}\n')
    const text = await write('a.txt', [{ own: {}, result: { text: 'a\\b\nc' } }])
    assert.equal(await readFile(text, 'utf8'), 'a\\\\b\\nc\n')
  })

  test('may have columns by any name, which only some rows have', async () => {
    const own = JSON.parse('{"__proto__":"a","constructor":"b"}') as Record<string, unknown>
    const result = { text: JSON.parse('{"__proto__":1}') as object, toString: 'c' }
    const rows = [
      { own: {}, result: { text: 'x' } },
      { own, result },
    ]
    const header = '__proto__,constructor,text,text.__proto__,toString'
    assert.equal(await readFile(await write('names.csv', rows), 'utf8'), `${header}\n,,x,,\na,b,,1,c\n`)
    const lines = (await readFile(await write('names.jsonl', rows), 'utf8')).split('\n')
    assert.equal(lines[1], '{"__proto__":"a","constructor":"b","text":{"__proto__":1},"toString":"c"}')
    assert.equal(await readFile(await write('none.csv', []), 'utf8'), '')
    assert.deepEqual(kindOf('x.constructor'), { format: undefined, packing: undefined })
  })

  test('leave nothing behind if they are not finished', async () => {
    const path = join(folder, 'unfinished.csv')
    await using writer = await openRowWriter(path, { format: 'csv', packing: undefined })
    await writer.add(rows[0]!)
    await writer[Symbol.asyncDispose]()
    await assert.rejects(readFile(path), /ENOENT/)
  })

  test('are what they were, whatever texts are in them', async () => {
    const texts = fc.array(
      fc.record({ a: fc.string({ unit: 'grapheme' }), b: fc.string() }, { noNullPrototype: true }),
      {
        minLength: 1,
        maxLength: 20,
      },
    )
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('p.csv', 'p.tsv', 'p.parquet', 'p.jsonl.zst'),
        texts,
        async (name, values) => {
          const path = await write(
            name,
            values.map((own) => ({ own, result: {} })),
          )
          assert.deepEqual(await read(path), values)
        },
      ),
      { numRuns: 60 },
    )
  })
})

const parquet = await readFile(await write('whole.parquet', rows))

describe('a file that is read', () => {
  test('is told by its name, or else by how it begins', async () => {
    const kinds = async (name: string, content: string | Uint8Array) => {
      const path = await give(name, content)
      const { kind } = await openInput(path, path, undefined)
      return `${kind.format} ${kind.packing}`
    }
    assert.equal(await kinds('x.jsonl', '{}\n'), 'jsonl undefined')
    assert.equal(await kinds('x', gzipSync('{}\n')), 'jsonl gzip')
    assert.equal(await kinds('x.csv.zst', zstdCompressSync('a,b\n')), 'csv zstd')
    assert.equal(await kinds('x.csv.gz', 'a,b\n'), 'csv undefined')
    const line = '{"custom_id":"1","method":"POST","url":"/v1/embeddings","body":{}}\n'
    assert.equal(await kinds('y.jsonl', line), 'openai undefined')
    assert.equal(await kinds('x.TXT', 'text\n'), 'text undefined')
  })

  test('may be compressed in several parts, one after the other', async () => {
    const lines = ['{"a":1}\n', '{"a":2}\n']
    for (const [name, pack] of [
      ['m.jsonl.gz', gzipSync],
      ['m.jsonl.zst', zstdCompressSync],
    ] as const) {
      const bytes = Buffer.concat(lines.map((line) => pack(line)))
      assert.deepEqual(await read(await give(name, bytes)), [{ a: 1 }, { a: 2 }])
    }
  })

  test('may have a byte order mark and lines that end as on Windows', async () => {
    assert.deepEqual(await read(await give('b.csv', '\ufeffid,claim\r\n1,"a\r\nb"\r\n\r\n2,c\r\n')), [
      { id: '1', claim: 'a\r\nb' },
      { id: '2', claim: 'c' },
    ])
    assert.deepEqual(await read(await give('b.txt', '\ufefffirst\r\n\r\nsecond')), ['first', 'second'])
    assert.deepEqual(await read(await give('b.jsonl', '\ufeff{"a":1}\r\n')), [{ a: 1 }])
  })

  test('says of each bad row where it is and what is wrong with it', async () => {
    assert.deepEqual(await read(await give('r.csv', 'a,b\n1,2\n"x\ny",2,3\n4\n5,6\n')), [
      { a: '1', b: '2' },
      'line 3 has 3 fields, and the header has 2',
      'line 5 has 1 fields, and the header has 2',
      { a: '5', b: '6' },
    ])
    const [good, bad] = await read(
      await give('r.jsonl', Buffer.concat([Buffer.from('"ok"\n"'), Buffer.from([0xff]), Buffer.from('"\n')])),
    )
    assert.deepEqual([good, bad], ['ok', 'line 2 is not UTF-8'])
  })

  const long = 'x'.repeat((8 << 20) + 10)
  const refused: [name: string, content: string | Uint8Array, message: RegExp][] = [
    ['empty.csv', '', /empty\.csv is empty/],
    ['cut.jsonl.gz', gzipSync('{"a":1}\n').subarray(0, 20), /cut\.jsonl\.gz is cut off: its gzip/],
    ['cut.csv.zst', zstdCompressSync('a,b\n1,2\n').subarray(0, 12), /cut\.csv\.zst is cut off: its zstd/],
    ['bad.csv.gz', Buffer.concat([gzipSync('a,b\n').subarray(0, 12), Buffer.alloc(50, 7)]), /damaged/],
    ['no.parquet', 'id,claim\n', /no\.parquet is not a Parquet file/],
    ['half.parquet', parquet.subarray(0, parquet.length - 30), /half\.parquet is not a whole Parquet file/],
    [
      'sick.parquet',
      Buffer.concat([parquet.subarray(0, 4), Buffer.alloc(60, 9), parquet.subarray(64)]),
      /rows 1 to 2 cannot be read/,
    ],
    ['named.csv', parquet, /named\.csv is a Parquet file: .*--format parquet/],
    ['array.jsonl', '[{"a":1},{"a":2}]', /array\.jsonl is a JSON array: .*jq/],
    ['wide.csv', Buffer.from('\ufeffa,b\n', 'utf16le'), /wide\.csv is UTF-16: .*iconv/],
    ['latin.csv', Buffer.from('name\ncaf\xe9\n', 'latin1'), /latin\.csv is not UTF-8: .*iconv/],
    ['twice.csv', 'a,b,a\n1,2,3\n', /twice\.csv: line 1 names two columns "a"/],
    ['semicolons.csv', 'a;b\n1;2\n', /semicolons\.csv: line 1 has one column, "a;b": separate/],
    ['open.csv', 'a\n"never closed\n', /open\.csv: line 2 has a quote that is not closed/],
    ['quote.csv', 'a\n"x"y\n', /quote\.csv: line 2 has something behind a closing quote/],
    ['long.csv', `a\n${long}\n`, /long\.csv: line 2 is longer than 8388608 bytes/],
    ['sheet.csv', Buffer.from([0x50, 0x4b, 3, 4, 0]), /sheet\.csv is a zip archive/],
  ]
  for (const [name, content, message] of refused) {
    test(`is refused with its name and what to do: ${name}`, async () => {
      await assert.rejects(read(await give(name, content)), { name: 'InputError', message })
    })
  }

  test('may have one line of any length, of which little is kept', async () => {
    const [bad, good] = await read(await give('long.jsonl', `"${long}"\n"ok"\n`))
    assert.deepEqual([bad, good], ['line 1 is longer than 8388608 bytes', 'ok'])
  })
})
