import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { connect } from '../../src/client/index.ts'
import { until } from '../support/until.ts'
import { plant } from './factory-fixture.ts'

test('contexts of jobs that take turns on one pilot are each loaded once, until one is dropped', async () => {
  await using here = await plant()
  const [first, second] = [join(here.folder, 'words'), join(here.folder, 'others')]
  await mkdir(second)
  const yaml = await readFile(join(first, 'context.yaml'), 'utf8')
  await writeFile(
    join(second, 'context.yaml'),
    yaml.replace('name: words', 'name: others').replace('code: code', 'code: ../words/code'),
  )
  const config = `contexts: [${first}, ${second}]\nsites: { here: { kind: local, count: 1 } }\n`
  await writeFile(join(here.state, 'factory.yaml'), config)
  await writeFile(join(here.folder, 'tasks.jsonl'), '{"word":"yes"}\n'.repeat(40))
  await here.start()

  let runs = 0
  const libraryOf = async (context: string) => {
    const out = `out${++runs}.jsonl`
    const { code, stderr } = await here.factory('run', 'tasks.jsonl', '--context', context, '--out', out)
    assert.equal(code, 0, stderr)
    const lines = (await readFile(join(here.folder, out), 'utf8')).trim().split('\n')
    const libraries = lines.map((line) => (JSON.parse(line) as { library: number }).library)
    assert.equal(libraries.length, 40)
    assert.equal(new Set(libraries).size, 1)
    return libraries[0]
  }
  const words = await libraryOf('words')
  const others = await libraryOf('others')
  assert.deepEqual(
    [await libraryOf('words'), await libraryOf('others'), await libraryOf('words')],
    [words, others, words],
  )
  const levels = async () => {
    const { workers } = await here.status()
    return workers.flatMap(({ contexts }) => contexts.map(({ level }) => level)).sort()
  }
  assert.deepEqual(await levels(), ['memory', 'memory'])
  assert.equal((await here.factory('context', 'drop', 'words')).code, 0)
  await until(async () => (await levels()).join() === 'absent,memory')
  assert.equal(await libraryOf('others'), others)
  assert.doesNotMatch((await here.factory('context', 'list')).stdout, /^words /m)
  assert.equal((await here.factory('context', 'add', 'words')).code, 0)
  assert.notEqual(await libraryOf('words'), words)

  // A job that is open keeps its context, unless the user gives both up.
  await using client = connect({ state: here.state })
  const open = await client.createJob({ name: 'open', context: 'words' })
  const refused = await here.factory('context', 'drop', 'words')
  assert.match(refused.stderr, new RegExp(`needed by job ${open.id}: .*--cancel`))
  const dropped = await here.factory('context', 'drop', 'words', '--cancel')
  assert.deepEqual([dropped.code, dropped.stdout], [0, 'words is let go of by all workers\n'])
  assert.equal((await open.info()).state, 'cancelled')
})
