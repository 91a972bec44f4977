import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { gunzipSync, gzipSync, zstdDecompressSync } from 'node:zlib'
import { connect, InputError, runFile, type RunOptions } from '../../../src/client/index.ts'
import { openInput, readRows } from '../../../src/client/formats/read-rows.ts'
import { openRowDialect } from '../../../src/openai/batch-rows.ts'
import type { JsonValue } from '../../../src/protocol/primitives.ts'
import { fakeManager, type FakeManager } from '../fake-manager.ts'

interface Desk extends AsyncDisposable {
  manager: FakeManager
  folder: string
  /** Writes an input; returns its path. */
  give: (name: string, content: string | Uint8Array) => Promise<string>
  run: (input: string | string[], output: string, options?: Partial<RunOptions>) => ReturnType<typeof runFile>
  read: (name: string) => Promise<string>
}

async function desk(): Promise<Desk> {
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-run-formats-'))
  const manager = await fakeManager()
  const client = connect({ state: manager.state })
  return {
    manager,
    folder,
    async give(name, content) {
      await writeFile(join(folder, name), content)
      return join(folder, name)
    },
    run: (input, output, options) =>
      runFile(client, { input, output: join(folder, output), context: 'echo', ...options }),
    read: (name) => readFile(join(folder, name), 'utf8'),
    async [Symbol.asyncDispose]() {
      await client.close()
      await manager[Symbol.asyncDispose]()
      await rm(folder, { recursive: true })
    },
  }
}

const claims = 'id,claim\na,"one, two"\nb,"three\nfour"\nc,five\n'
const shout = (input: unknown) => ({ text: (input as { claim: string }).claim.toUpperCase(), n: 1 })

describe('a run of a table', () => {
  test('keeps its columns and its order, and puts what failed into a table beside it', async () => {
    await using here = await desk()
    here.manager.run = (input, key) =>
      key === 'b'
        ? { status: 'error', error: { name: 'TypeError', message: 'no "b"' } }
        : { status: 'done', value: shout(input) }
    const { done, failed } = await here.run(await here.give('in.csv', claims), 'out.csv')
    assert.deepEqual([done, failed], [2, 1])
    assert.equal(await here.read('out.csv'), 'id,claim,text,n\na,"one, two","ONE, TWO",1\nc,five,FIVE,1\n')
    assert.equal(await here.read('out.errors.csv'), 'id,claim,error\nb,"three\nfour","TypeError: no ""b"""\n')

    here.manager.run = (input) => ({ status: 'done', value: shout(input) })
    const again = await here.run(join(here.folder, 'in.csv'), 'out.csv', { retryFailed: true })
    assert.deepEqual([again.done, again.failed], [3, 0])
    assert.equal((await here.read('out.csv')).split('\n').length, 7)
    assert.deepEqual((await readdir(here.folder)).sort(), ['in.csv', 'out.csv'])
  })

  for (const [output, unpack] of [
    ['out.csv.gz', gunzipSync],
    ['out.tsv.zst', zstdDecompressSync],
  ] as const) {
    test(`may be written as ${output}`, async () => {
      await using here = await desk()
      here.manager.run = (input) => ({ status: 'done', value: shout(input) })
      await here.run(await here.give('in.csv.gz', gzipSync(claims)), output)
      const text = unpack(await readFile(join(here.folder, output))).toString()
      assert.match(text, /^id[,\t]claim[,\t]text[,\t]n\na/)
    })
  }

  test('may be written as Parquet, or as lines with all that belongs to a row', async () => {
    await using here = await desk()
    here.manager.run = (input) => ({ status: 'done', value: shout(input) })
    const input = await here.give('in.csv', claims)
    await here.run(input, 'out.parquet')
    const path = join(here.folder, 'out.parquet')
    const rows = await Array.fromAsync(readRows(await openInput(path, path, undefined)))
    assert.deepEqual((rows[0] as { value: unknown }).value, {
      id: 'a',
      claim: 'one, two',
      text: 'ONE, TWO',
      n: 1,
    })
    await here.run(input, 'out.jsonl')
    assert.equal(
      (await here.read('out.jsonl')).split('\n')[2],
      '{"id":"c","claim":"five","text":"FIVE","n":1}',
    )
  })

  test('goes on after it was stopped, and its output is there only when it is complete', async () => {
    await using here = await desk()
    const input = await here.give('in.csv', claims)
    here.manager.run = (value, key) => (key === 'c' ? 'held' : { status: 'done', value: shout(value) })
    const stop = new AbortController()
    const onProgress = ({ done }: { done: number }) => done === 2 && stop.abort(new Error('stopped'))
    await assert.rejects(here.run(input, 'out.csv', { signal: stop.signal, onProgress }), /stopped/)
    assert.deepEqual(await readdir(here.folder), ['in.csv'])
    here.manager.run = (value) => ({ status: 'done', value: shout(value) })
    const { done } = await here.run(input, 'out.csv')
    assert.deepEqual([done, here.manager.jobs.length], [3, 1])
    assert.equal((await here.read('out.csv')).split('\n').length, 7)
  })

  test('measures accuracy by a column', async () => {
    await using here = await desk()
    here.manager.run = (input) => ({
      status: 'done',
      value: { label: (input as { is: string }).is === '1' ? 1 : 0 },
    })
    const { accuracy } = await here.run(await here.give('in.csv', 'is,label\n1,1\n0,1\n'), 'out.csv', {
      expect: 'label',
    })
    assert.equal(accuracy, 0.5)
  })
})

describe('rows become tasks', () => {
  const seen = (here: Desk) => here.manager.jobs.map(({ tasks }) => Object.fromEntries(tasks))

  test('whole, with fields of other names, or as a prompt', async () => {
    await using here = await desk()
    const input = await here.give('in.csv', 'name,claim\nx,one\n')
    const map = { id: 'name', question: 'claim' }
    await here.run(input, '1.csv', { rows: { map } })
    await here.run(input, '2.csv', { rows: { template: 'Is {{claim}} {{ claim }} true?' } })
    await here.run(await here.give('in.txt', 'first\n\nsecond\n'), '3.txt')
    await here.run(join(here.folder, 'in.txt'), '4.txt', { rows: { template: '{{prompt}}?', field: 'text' } })
    assert.deepEqual(seen(here), [
      { x: { name: 'x', claim: 'one', id: 'x', question: 'one' } },
      { 1: { name: 'x', claim: 'one', prompt: 'Is one one true?' } },
      { 1: 'first', 3: 'second' },
      { 1: { prompt: 'first', text: 'first?' }, 3: { prompt: 'second', text: 'second?' } },
    ])
    assert.equal(await here.read('3.txt'), '{"echo":"first"}\n{"echo":"second"}\n')
  })

  test('of several files, known by file and number', async () => {
    await using here = await desk()
    const files = [await here.give('a.jsonl', '"one"\n'), await here.give('b.csv', 'claim\ntwo\n')]
    await here.run(files, 'out.jsonl')
    assert.deepEqual(seen(here), [{ [`${files[0]}:1`]: 'one', [`${files[1]}:1`]: { claim: 'two' } }])
    assert.equal(
      await here.read('out.jsonl'),
      '{"prompt":"one","echo":"one"}\n{"claim":"two","echo":{"claim":"two"}}\n',
    )
  })

  test('of Parquet, with integers of 64 bits', async () => {
    await using here = await desk()
    const input = await here.give('in.jsonl', '{"id":1234567890123456789,"x":1}\n')
    await here.run(input, 'made.parquet')
    await here.run(join(here.folder, 'made.parquet'), 'out.csv')
    assert.match(await here.read('out.csv'), /^id,x,.*\n1234567890123456789,1,/)
    assert.deepEqual(Object.keys(seen(here)[1]!), ['1234567890123456789'])
  })

  test('in the order of the input if that is asked for, in the shape of other runs', async () => {
    await using here = await desk()
    const held = new Set(['a'])
    here.manager.run = (_, key) => (held.has(key) ? 'held' : { status: 'done', value: key })
    const input = await here.give('in.jsonl', '{"id":"a"}\n{"id":"b"}\n{"id":3}\n')
    const onProgress = ({ done }: { done: number }) => {
      if (done === 2 && held.delete('a')) here.manager.release()
    }
    await here.run(input, 'out.jsonl', { ordered: true, onProgress })
    assert.equal(
      await here.read('out.jsonl'),
      '{"id":"a","status":"done","value":"a"}\n{"id":"b","status":"done","value":"b"}\n{"id":3,"status":"done","value":"3"}\n',
    )
  })

  const batch = (id: string, url = '/v1/chat/completions') =>
    `${JSON.stringify({ custom_id: id, method: 'POST', url, body: { model: 'm', messages: [{ role: 'user', content: id }] } })}\n`

  const openDialect: RunOptions['openDialect'] = (context, row) => {
    const spec = {
      library: 'server',
      setup: {},
      functions: { echo: { method: 'POST', path: '/v1/chat/completions' } },
    }
    return openRowDialect({ ...context, spec: spec as never }, row)
  }

  test('that are requests of an OpenAI batch, whose answers have its shape', async () => {
    await using here = await desk()
    here.manager.run = (input, key) =>
      key === 'r2'
        ? { status: 'error', error: { name: 'InputError', message: 'too long' } }
        : { status: 'done', value: { choices: [], of: input as JsonValue } }
    await here.run(await here.give('in.jsonl', batch('r1') + batch('r2')), 'out.jsonl', { openDialect })
    const { id, ...line } = JSON.parse(await here.read('out.jsonl')) as {
      id: string
      response: { request_id?: string }
    }
    assert.match(id, /^batch_req_/)
    assert.match(line.response.request_id!, /^req_/)
    delete line.response.request_id
    assert.deepEqual(line, {
      custom_id: 'r1',
      response: {
        status_code: 200,
        body: { choices: [], of: { model: 'm', messages: [{ role: 'user', content: 'r1' }] } },
      },
      error: null,
    })
    const failed = JSON.parse(await here.read('out.errors.jsonl')) as { response: { status_code: number } }
    assert.equal(failed.response.status_code, 400)
  })

  for (const [what, content, message] of [
    ['another url', batch('a') + batch('b', '/v1/embeddings'), /line 2 has the url \/v1\/embeddings/],
    ['a url that is none', batch('a', '/v1/chat'), /the first request has the url "\/v1\/chat": those/],
    ['an id twice', batch('a') + batch('a'), /line 2 has the same id as line 1/],
    ['a line that is no JSON', `${batch('a')}{oops\n`, /line 2 is not JSON/],
    ['a line without a body', `${batch('a')}{"custom_id":"x"}\n`, /line 2 is no request of a batch: /],
  ] as const) {
    test(`that are requests are refused with the line and why: ${what}`, async () => {
      await using here = await desk()
      const input = await here.give('in.jsonl', content)
      await assert.rejects(here.run(input, 'out.jsonl', { openDialect }), { message })
      assert.equal(here.manager.jobs.length, 0)
    })
  }
})

describe('what cannot be run is refused before anything is submitted', () => {
  const cases: [what: string, make: (here: Desk) => Promise<unknown>, message: RegExp][] = [
    ['a folder', ({ run, folder }) => run(folder, 'out.csv'), /is a folder: name the files in it/],
    [
      'a ragged row',
      async (here) => here.run(await here.give('r.csv', 'a,b\n1\n'), 'o.csv'),
      /r\.csv: line 2 has 1 fields/,
    ],
    [
      'a header alone',
      async (here) => here.run(await here.give('h.csv', 'a,b\n'), 'o.csv'),
      /h\.csv has no line that is a task/,
    ],
    [
      'an id twice, in two files',
      async (here) =>
        here.run([await here.give('x.csv', claims), await here.give('y.csv', 'id,claim\nb,b\n')], 'o.csv'),
      /y\.csv line 2 has the same id as .*x\.csv line 3/,
    ],
    [
      'a template with a column that is not there',
      async (here) =>
        here.run(await here.give('t.csv', claims), 'o.csv', { rows: { template: '{{ clam }}' } }),
      /t\.csv: line 2 has no column clam, which --template needs; its columns are id, claim/,
    ],
    [
      'a template without columns',
      async (here) => here.run(await here.give('t.csv', claims), 'o.csv', { rows: { template: 'Hi' } }),
      /no \{\{ column \}\}/,
    ],
    [
      'a file twice',
      async (here) => here.run([await here.give('f.csv', claims), join(here.folder, 'f.csv')], 'o.csv'),
      /given twice/,
    ],
    [
      'an output that is there',
      async (here) => {
        await here.give('o.csv', 'mine')
        return here.run(await here.give('f.csv', claims), 'o.csv')
      },
      /o\.csv is there, and is not the output of this run/,
    ],
    [
      'a packed Parquet output',
      async (here) => here.run(await here.give('f.csv', claims), 'o.parquet.gz'),
      /compresses by itself/,
    ],
    [
      'something that says nothing of itself',
      async (here) => here.run(await here.give('f', 'what is this\n'), 'o.csv'),
      /say it with --format/,
    ],
  ]
  for (const [what, make, message] of cases) {
    test(what, async () => {
      await using here = await desk()
      await assert.rejects(make(here), (error: Error) => {
        assert.match(error.message, message)
        return error instanceof InputError
      })
      assert.equal(here.manager.jobs.length, 0)
    })
  }
})
