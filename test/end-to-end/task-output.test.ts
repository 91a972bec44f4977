import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { plant, plantContext } from './factory-fixture.ts'

const FILES = {
  'context.yaml': `
name: talk
library: module
bundles: { code: code }
setup: { bundle: code, file: talk.js }
functions: { talk: { export: talk } }
`,
  'code/talk.js': `
export async function talk({ word }) {
  if (word) console.log('the word is', word)
  if (word === 'crash') process.abort()
  if (word === 'fail') throw new TypeError('a bad word')
  return word ?? null
}
`,
  'code/package.json': '{"type":"module"}',
  '../tasks.jsonl': ['fine', 'fail', 'crash']
    .map((word) => JSON.stringify({ id: word, word }) + '\n')
    .concat('{"id":"silent"}')
    .join(''),
}

/** How its trace is said. */
const TRACE = 'trace [0-9a-f]{32}, span [0-9a-f]{16}\n'

describe('what a task printed', () => {
  test('is shown by its key, with where it ran, and goes with the results of those that failed', async () => {
    await using here = await plant()
    await plantContext(here, 'talk', FILES)
    await here.start()
    const run = await here.factory(
      'run',
      'tasks.jsonl',
      '--context',
      'talk',
      '--out',
      'out.jsonl',
      '--name',
      'words',
    )
    assert.match(run.stdout, /^2 done, 2 failed/, run.stderr)

    const fine = await here.factory('logs', 'words', 'fine')
    assert.deepEqual([fine.code, fine.stdout], [0, 'the word is fine\n'])
    assert.match(
      fine.stderr,
      new RegExp(`^done on worker w\\d+ \\(${hostname()}\\), after [\\d.]+ m?s\n${TRACE}$`),
    )
    const fail = await here.factory('logs', '1', 'fail')
    assert.equal(fail.stdout, 'the word is fail\n')
    assert.match(fail.stderr, new RegExp(`^error on worker .*: TypeError: a bad word\n${TRACE}$`))
    const silent = await here.factory('logs', 'words', 'silent')
    assert.equal(silent.stdout, '')
    assert.match(silent.stderr, /and printed nothing\n/)
    const none = await here.factory('logs', 'words', 'none')
    assert.match(none.stderr, /^factory: job 1 \("words"\) has no task "none" \[GLEANER_NOT_FOUND\]\n$/)
    assert.notEqual(none.code, 0)

    const lines = (await readFile(join(here.folder, 'out.jsonl'), 'utf8')).trim().split('\n')
    const rows = lines.map((line) => JSON.parse(line) as Record<string, string>)
    const row = (id: string) => rows.find((row) => row.id === id)!
    assert.equal(row('fail').log, 'the word is fail\n')
    assert.equal(row('fail').node, hostname())
    assert.match(row('crash').log ?? '', /^(the word is fine\n)?.*the word is crash\n/s)
    assert.equal(row('fine').log, undefined)
  })
})
