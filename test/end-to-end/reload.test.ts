import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { until } from '../support/until.ts'
import { plant, writeTasks } from './factory-fixture.ts'

test('an edited factory.yaml is told of, put in force by a command or a signal while pilots work on, and refused if it is not valid', async (t) => {
  await using here = await plant('sites: { here: { kind: local, count: 1 } }')
  const { child } = await here.start()
  const configure = (sites: string, manager = '') =>
    writeFile(
      join(here.state, 'factory.yaml'),
      `contexts: [${join(here.folder, 'words')}]\n${manager}sites: { ${sites} }\n`,
    )
  const site = async (name = 'here') => (await here.status()).sites.find((one) => one.name === name)

  const input = join(here.folder, 'tasks.jsonl')
  await writeTasks(input, 100_000, { ms: 50 })
  const run = here.begin('run', input, '--context', 'words', '--out', join(here.folder, 'out.jsonl'))
  t.after(() => run.child.kill('SIGKILL'))
  await until(async () => (await site())?.registered === 1)
  const [[pilot, pid] = ['', 0]] = await here.pilots()

  await configure('here: { kind: local, count: 2 }', 'manager: { idle: 9m }\n')
  assert.match(
    (await here.status()).notice!,
    /^factory.yaml has changed \(site here: count 1 -> 2, max 1 -> 2\): "factory reload"/,
  )
  const { stdout } = await here.factory('reload')
  assert.equal(stdout, 'site here: count 1 -> 2, max 1 -> 2\ntakes a restart: manager: idle 120 -> 540\n')
  await until(async () => (await site())?.registered === 2)
  assert.equal((await here.pilots()).get(pilot), pid)
  assert.match((await here.status()).notice!, /\(manager: idle 120 -> 540\): a restart puts it in force$/)

  await configure('here: { kind: local, cuont: 2 }')
  const refused = await here.factory('reload')
  assert.equal(refused.code, 2)
  assert.match(refused.stderr, /unknown key sites\.here\.cuont; did you mean count\?; the factory goes on by/)
  assert.match((await here.status()).notice!, /not valid: .*cuont/)
  assert.equal((await site())?.max, 2)

  await configure('here: { kind: local, count: 2 }, more: { kind: local, count: 1 }')
  child.kill('SIGHUP')
  await until(async () => (await site('more'))?.registered === 1)
  await configure('here: { kind: local, count: 2 }')
  await here.factory('reload')
  await until(async () => (await site('more')) === undefined)
  assert.equal((await here.status()).notice, undefined)

  // Whether shells are allowed is by what is in force: first the manager refuses, then the pilot, which was submitted before.
  assert.match((await here.factory('exec', pilot, '--', 'true')).stderr, /site here does not allow shells/)
  await configure('here: { kind: local, count: 2, shell: true }')
  await here.factory('reload')
  assert.match(
    (await here.factory('exec', pilot, '--', 'true')).stderr,
    /this pilot was submitted by a factory/,
  )
})
