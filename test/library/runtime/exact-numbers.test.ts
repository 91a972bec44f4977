import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { JsonValue } from '../../../src/protocol/primitives.ts'
import type { LibrarySpec } from '../../../src/protocol/contexts/context.ts'
import { parseExactly } from '../../../src/protocol/json/exact-numbers.ts'
import { startLibrary } from '../support/library-process.ts'
import { toSetup } from '../support/setup-message.ts'

const MODULE = `
export const echo = (input) => input
export const kinds = (input) => Object.values(input).map((value) => typeof value)
export const next = ({ id }) => ({ next: id + 1n })
`
const PYTHON = `
def echo(value):
    return value
def next(value):
    return {"next": value["id"] + 1}
`
const SERVER = `
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
createServer(async (request, response) => response.end(
  request.url === '/health' ? '{}' : request.method === 'GET' ? JSON.stringify(request.url) : await text(request),
)).listen(process.argv[2])
`
const INPUT = '{"id":1234567890123456789,"near":9007199254740993,"small":5}'

let folder: string
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gleaner-numbers-'))
  await writeFile(join(folder, 'package.json'), '{"type":"module"}')
  await writeFile(join(folder, 'app.js'), MODULE)
  await writeFile(join(folder, 'app.py'), PYTHON)
  await writeFile(join(folder, 'server.js'), SERVER)
})
after(() => rm(folder, { recursive: true }))

/** What a function of a real library process makes of an input, both as JSON text. */
async function call(spec: LibrarySpec, name: string, input: string): Promise<string> {
  await using library = await startLibrary(toSetup(spec, { app: folder }))
  await library.next('ready')
  const [ended] = await library.call(name, [parseExactly(input) as JsonValue])
  assert.ok(ended && 'value' in ended, JSON.stringify(ended))
  return JSON.stringify(ended.value)
}

describe('numbers that JavaScript would change', { timeout: 600_000 }, () => {
  test('are bigints in a module, which may return them', async () => {
    const functions = { echo: { export: 'echo' }, kinds: { export: 'kinds' }, next: { export: 'next' } }
    const spec: LibrarySpec = {
      library: 'module',
      setup: { bundle: 'app', file: 'app.js', args: [] },
      functions,
    }
    assert.equal(await call(spec, 'echo', INPUT), INPUT)
    assert.equal(await call(spec, 'echo', '[1e400]'), '[1e400]')
    assert.equal(await call(spec, 'kinds', INPUT), '["bigint","bigint","number"]')
    assert.equal(await call(spec, 'next', INPUT), '{"next":1234567890123456790}')
  })

  test('are integers in Python', async () => {
    const functions = { echo: { call: 'echo' }, next: { call: 'next' } }
    const spec: LibrarySpec = {
      library: 'python',
      setup: { bundle: 'app', file: 'app.py', args: [] },
      functions,
    }
    const both = INPUT.replace('}', ',"float":1.0}')
    assert.equal(await call(spec, 'echo', both), both)
    assert.equal(await call(spec, 'next', INPUT), '{"next":1234567890123456790}')
  })

  test('reach a server, and come back from it, as they are', async () => {
    const spec: LibrarySpec = {
      library: 'server',
      setup: {
        command: [process.execPath, '{{ bundles.app }}/server.js', '{{ port }}'],
        healthy: '/health',
        concurrency: 1,
        startLimit: 60,
      },
      functions: {
        echo: { path: '/', method: 'POST' },
        parts: {
          path: '/',
          method: 'POST',
          body: { whole: '{{ id }}', text: 'no. {{ id }}', price: '{{ price }}' },
          result: { a: '{{ whole }}', b: '{{ text }} of {{ price }}' },
        },
        path: { path: '/{{ id }}', method: 'GET' },
      },
    }
    const input = '{"id":1234567890123456789,"price":1.50}'
    assert.equal(await call(spec, 'echo', input), input)
    assert.equal(
      await call(spec, 'parts', input),
      '{"a":1234567890123456789,"b":"no. 1234567890123456789 of 1.50"}',
    )
    assert.equal(await call(spec, 'path', input), '"/1234567890123456789"')
  })
})
