import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { startLibrary } from './support/library-process.ts'
import { toSetup } from './support/setup-message.ts'

/** Counts its starts in a file. Answers `fine` calls, and then 500 to everything; also to what `poison` is in. */
const SERVER = `
import { appendFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
const [port, starts, fine] = process.argv.slice(2)
appendFileSync(starts, 'x')
let calls = 0
createServer(async (request, response) => {
  const body = await text(request)
  const isCall = request.url !== '/health'
  if (isCall) calls++
  response.statusCode = calls > Number(fine) || body.includes('poison') ? 500 : 200
  response.end(isCall ? body : '{}')
}).listen(port.includes('/') ? { path: port } : { port: Number(port), host: '127.0.0.1' })
`

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gleaner-sick-'))
  await writeFile(join(folder, 'server.mjs'), SERVER)
})
afterEach(() => rm(folder, { recursive: true }))

function setup(fine: number) {
  const starts = join(folder, 'starts')
  const command = [process.execPath, '{{ bundles.app }}/server.mjs', '{{ port }}', starts, String(fine)]
  return toSetup(
    {
      library: 'server',
      setup: { command, healthy: '/health', concurrency: 2, startLimit: 60 },
      functions: { echo: { path: '/' } },
    },
    { app: folder },
  )
}

const startsOf = async () => (await readFile(join(folder, 'starts'), 'utf8')).length

describe('a server that answers 500 to everything', { timeout: 600_000 }, () => {
  test('is started anew when it does not look healthy either, and no task pays for it', async () => {
    await using library = await startLibrary(setup(4))
    await library.next('ready')
    const ended = await library.call(
      'echo',
      Array.from({ length: 10 }, (_, n) => ({ n })),
    )
    assert.equal(ended.filter((one) => 'value' in one).length, 10)
    assert.ok((await startsOf()) > 1)
  })

  test('stays when it looks healthy: then it is the task that it cannot answer', async () => {
    await using library = await startLibrary(setup(1000))
    await library.next('ready')
    const ended = await library.call('echo', ['good', 'poison', 'good'])
    assert.deepEqual(
      ended.toSorted((a, b) => a.id - b.id).map((one) => 'value' in one),
      [true, false, true],
    )
    assert.equal(await startsOf(), 1)
  })
})
