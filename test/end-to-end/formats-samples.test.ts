import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmod, cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { openInput, readRows } from '../../src/client/formats/read-rows.ts'
import { plant } from './factory-fixture.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const BIN = join(ROOT, 'bin', 'factory.js')

describe('the commands of the page about formats', () => {
  test('run a model folder, a table, several files and what is piped in', async () => {
    await using here = await plant('sites: { here: { kind: local, count: 1 } }')
    const { folder, state } = here
    const templates = join(ROOT, 'templates', 'fact-verification')
    await cp(join(templates, 'model'), join(folder, 'SmolLM2-1.7B-Instruct'), { recursive: true })
    await writeFile(
      join(state, 'factory.yaml'),
      `contexts: [${templates}]\nsites: { here: { kind: local, count: 1 } }\n`,
    )
    const table = (id: string) => `id,claim,evidence\n${id},"The sky, they say, is blue",It is blue\n`
    await mkdir(join(folder, 'data'))
    await writeFile(join(folder, 'claims.csv'), table('a'))
    await writeFile(join(folder, 'data', 'one.csv.gz'), gzipSync(table('b')))
    await writeFile(join(folder, 'more.csv'), table('c'))
    await writeFile(join(folder, 'notes.tsv'), 'x\tIs water wet?\ny\tIs it dry?\n')
    await mkdir(join(folder, 'bin'))
    await writeFile(join(folder, 'bin', 'factory'), `#!/bin/sh\nexec '${process.execPath}' '${BIN}' "$@"\n`)
    await chmod(join(folder, 'bin', 'factory'), 0o755)
    await here.start()

    const page = await readFile(join(ROOT, 'docs', 'formats.md'), 'utf8')
    const [, block] = /^```sh\n([^]*?)^```$/m.exec(page)!
    const env = { ...process.env, PATH: `${join(folder, 'bin')}:${process.env.PATH}`, GLEANER_STATE: state }
    for (const command of block!.trim().split('\n'))
      await promisify(execFile)('/bin/sh', ['-c', command], { cwd: folder, env })

    const read = (name: string) => readFile(join(folder, name), 'utf8')
    assert.match(
      await read('claims.results.csv'),
      /^id,claim,evidence,text,tokens\.prompt,.*\na,"The sky, they say, is blue",/,
    )
    assert.match(await read('answers.csv'), /^id,claim,evidence,.*label.*\nb,.*\nc,/)
    assert.equal((await read('answers.txt')).trim().split('\n').length, 2)
    const path = join(folder, 'answers.parquet')
    const [row] = await Array.fromAsync(readRows(await openInput(path, path, undefined)))
    assert.equal((row as { value: { id: string } }).value.id, 'a')
    const { stdout } = await here.factory('context', 'list')
    assert.equal(stdout.match(/^SmolLM2-1\.7B-Instruct-/gm)?.length, 1, 'the same context serves again')
  })
})
