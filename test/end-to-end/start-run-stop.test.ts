import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { jsonShapes } from '../../src/cli/json-output/json-shapes.ts'
import { connect } from '../../src/client/index.ts'
import { isGone } from '../../src/client/endpoint.ts'
import { Endpoint } from '../../src/protocol/client.ts'
import { until } from '../support/until.ts'
import { plant, readIds, writeTasks, type Plant } from './factory-fixture.ts'

const RUN = ['run', 'tasks.jsonl', '--context', 'words', '--out', 'results.jsonl']

async function endpointOf({ state }: Plant) {
  return Endpoint.parse(JSON.parse(await readFile(join(state, 'endpoint.json'), 'utf8')))
}

const untilGone = (pid: number) => until(() => isGone({ pid, host: hostname(), url: 'http://x', token: '' }))

describe('by hand', () => {
  test('start, run, status, context list, stop; and nothing is left running', async () => {
    await using here = await plant()
    await writeTasks(join(here.folder, 'tasks.jsonl'), 100)
    const { ended, child } = await here.start()
    const run = await here.factory(...RUN, '--function', 'work')
    assert.equal(run.code, 0, run.stderr)
    const [first] = (await readFile(join(here.folder, 'results.jsonl'), 'utf8')).split('\n')
    const { id, status, label } = JSON.parse(first!) as Record<string, string>
    assert.deepEqual([status, label], ['done', `WORD ${id!.slice(1)}`])

    assert.match((await here.factory('status')).stdout, /^w\d+ +here .* words memory/m)
    assert.match((await here.factory('context', 'list')).stdout, /^words +module +work, shout/m)
    const pilots = [...(await here.pilots()).values()]
    assert.equal(pilots.length, 2)

    const stop = await here.factory('stop')
    assert.deepEqual([stop.code, stop.stdout], [0, 'stopped\n'], stop.stderr)
    assert.equal((await ended).code, 0)
    assert.match((await ended).stdout, /^factory is running on .*: 1 site \(here\), 1 context \(words\)\n/)
    for (const pid of [child.pid!, ...pilots]) await untilGone(pid)
  })

  test('start --detach returns when the factory is ready, and says in one line why it cannot be', async () => {
    await using here = await plant()
    await writeTasks(join(here.folder, 'tasks.jsonl'), 10)
    const start = await here.factory('start', '--detach')
    assert.equal(start.code, 0, start.stderr)
    assert.match(start.stdout, /^factory is running on /)
    const { pid } = await endpointOf(here)
    assert.equal((await here.factory(...RUN)).code, 0)
    const { stdout: stopped } = await here.factory('stop', '--json')
    assert.deepEqual(jsonShapes['factory stop'].parse(JSON.parse(stopped)), { stopped: true })
    await untilGone(pid)

    await writeFile(join(here.state, 'factory.yaml'), 'sites: { here: { kind: lokal } }')
    const bad = await here.factory('start', '--detach')
    assert.equal(bad.code, 2)
    assert.match(bad.stderr, /^factory: [^\n]*factory\.yaml[^\n]*kind[^\n]*\n$/)
  })

  test('start minds nothing that a killed factory left, whose process number is another’s by now', async () => {
    await using here = await plant()
    const left = { url: 'http://127.0.0.1:1', token: 'x'.repeat(43), pid: process.pid, host: hostname() }
    await writeFile(join(here.state, 'endpoint.json'), JSON.stringify(left))
    await here.start()
    assert.equal((await here.status()).jobs.length, 0)
  })

  test('stop --drain finishes the queued work first', async () => {
    await using here = await plant()
    await writeTasks(join(here.folder, 'tasks.jsonl'), 1_000)
    await here.start()
    const run = here.begin(...RUN)
    await until(async () => (await readIds(join(here.folder, 'results.jsonl'))).length > 0)
    const stop = await here.factory('stop', '--drain')
    assert.equal(stop.code, 0, stop.stderr)
    // The results are in the ledger; the run, which may have been too slow to read them all, gets them at the next start.
    await here.start()
    assert.equal((await run.ended).code, 0, (await run.ended).stderr)
    assert.equal((await here.pilots()).size, 0, 'no pilot was needed for that')
    assert.equal(new Set(await readIds(join(here.folder, 'results.jsonl'))).size, 1_000)
  })

  test('start tells of a site that was taken out of the configuration with its pilots still there', async () => {
    await using here = await plant('sites: { here: { kind: local, count: 1 } }')
    await writeTasks(join(here.folder, 'tasks.jsonl'), 1, { ms: 3_600_000 })
    const running = await here.start()
    const run = here.begin(...RUN)
    await until(async () => (await here.status()).sites[0]?.running === 1)
    for (const { child } of [run, running]) child.kill('SIGKILL')
    await running.ended
    const sites = 'sites: { here: { kind: local, enabled: false }, there: { kind: local, count: 0 } }'
    await writeFile(join(here.state, 'factory.yaml'), `${sites}\n`)
    const again = await here.factory('start', '--detach')
    assert.match(again.stdout, /^site here had pilots .* put it back, with max: 0/m, again.stderr)
    await here.factory('stop')
    await writeFile(join(here.state, 'factory.yaml'), 'sites: { here: { kind: local, max: 0, grace: 1s } }\n')
    const back = await here.factory('start', '--detach')
    assert.doesNotMatch(back.stdout, /had pilots/)
    assert.equal((await here.factory('stop')).code, 0)
    const { stdout: json } = await here.factory('submit', '--dry-run', 'here', '--json')
    const { files, command } = jsonShapes['factory submit'].parse(JSON.parse(json))
    assert.ok(files.some(({ name }) => name === 'pilot.env') && command.length > 0)
    assert.equal((await here.pilots()).size, 0)
  })

  test('stop cuts short a stop --drain that takes too long', async () => {
    await using here = await plant('sites: { here: { kind: local, grace: 1s } }')
    await writeTasks(join(here.folder, 'tasks.jsonl'), 5, { ms: 3_600_000 })
    const running = await here.start()
    const run = here.begin(...RUN)
    await until(async () => (await here.status()).tasks.leased > 0)
    await using client = connect({ state: here.state, patienceMs: 0 })
    await client.stop({ drain: true })
    const stop = await here.factory('stop')
    assert.equal(stop.code, 0, stop.stderr)
    assert.equal((await running.ended).code, 0)
    assert.equal((await here.pilots()).size, 0)
    run.child.kill('SIGTERM')
    assert.match((await run.ended).stderr, /job 1 goes on/)
  })

  test('tasks that fail are lines too, and make the run exit with 1', async () => {
    await using here = await plant()
    await writeFile(join(here.folder, 'tasks.jsonl'), '{"id":"good","word":"a"}\n{"id":"bad"}\n')
    await here.start()
    const { code, stdout, stderr } = await here.factory(...RUN, '--function', 'shout')
    assert.equal(code, 1)
    assert.match(stdout, /^1 done, 1 failed/)
    assert.match(stderr, /results\.errors\.jsonl says why, task by task/)
    const text = await readFile(join(here.folder, 'results.jsonl'), 'utf8')
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, string>)
    assert.deepEqual(
      lines.find(({ id }) => id === 'good'),
      { id: 'good', status: 'done', value: 'A!' },
    )
    assert.equal(lines.find(({ id }) => id === 'bad')?.error, 'TypeError: there is no word to shout')
  })

  test('submit --dry-run shows what would be submitted, and submits nothing', async () => {
    await using here = await plant()
    const { code, stdout, stderr } = await here.factory('submit', '--dry-run', 'here')
    assert.equal(code, 0, stderr)
    for (const name of ['local.sh', 'pilot.sh', 'pilot.env', 'command'])
      assert.match(stdout, new RegExp(`^==> .*${name} <==$`, 'm'))
    assert.equal((await here.pilots()).size, 0)
  })

  test('bundles are made, listed, verified and removed', async () => {
    await using here = await plant()
    const made = await here.factory('bundle', 'create', 'words/code', '--name', 'mine')
    assert.match(made.stdout, /^[0-9a-f]{64}\n$/, made.stderr)
    assert.match((await here.factory('bundle', 'list')).stdout, /^mine +[0-9a-f]{12} +files +2 +\d+ B +yes$/m)
    assert.match((await here.factory('bundle', 'verify', 'mine')).stdout, /is as it should be/)
    assert.equal((await here.factory('bundle', 'remove', 'mine')).code, 0)
    const gone = await here.factory('bundle', 'verify', 'mine')
    assert.deepEqual([gone.code, gone.stderr.split('\n').length], [2, 2])
  })
})
