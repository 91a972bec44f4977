import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import pino from 'pino'
import { loadConfig } from '../../src/factory/config/load-config.ts'
import { type Factory, startFactory } from '../../src/factory/factory.ts'
import type { PilotRecord } from '../../src/core/interfaces/pilot-registry.ts'
import { markingWorker } from './sites/site-suite.ts'
import { eventually } from './support/eventually.ts'
import { type TestRegistry, testRegistry } from './support/fake-pilot-registry.ts'
import { tinyRuntime } from './support/tiny-runtime.ts'

type Setting = { folder: string; marks: string; runtime: { path: string; sha256: string } }

/** A state folder with a local site, gone after the test. */
async function setting(site: object, worker = markingWorker): Promise<Setting> {
  const folder = mkdtempSync(join(tmpdir(), 'gleaner-factory-'))
  const marks = join(folder, 'marks')
  mkdirSync(marks)
  const here = {
    kind: 'local',
    cacheFolder: join(folder, 'cache'),
    sharedFolder: marks,
    grace: 1,
    poll: 0.1,
    ...site,
  }
  writeFileSync(join(folder, 'factory.yaml'), JSON.stringify({ sites: { here } }))
  return { folder, marks, runtime: await tinyRuntime(join(folder, 'runtime'), worker) }
}

function start(t: TestContext, { folder, runtime }: Setting, registry: TestRegistry): Factory {
  const factory = startFactory({
    config: loadConfig([join(folder, 'factory.yaml')]),
    registry,
    stateFolder: folder,
    manager: { host: '127.0.0.1', port: 9 },
    managerUrl: 'http://127.0.0.1:9',
    runtime,
    log: pino({ level: 'silent' }),
  })
  t.after(async () => {
    await factory.stop({ drain: false })
    rmSync(folder, { recursive: true })
  })
  return factory
}

/** A registry whose pilots register when their stand-in worker has left its mark. */
const watching = ({ marks, folder }: Setting) =>
  testRegistry({
    file: join(folder, 'registry.json'),
    observe(record: PilotRecord) {
      if (existsSync(join(marks, `${record.pilot}.up`))) record.registeredAt ??= Date.now()
    },
  })

const alive = (pid: number) =>
  existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
const pidOf = (record: PilotRecord) => Number(record.jobId)
const here = (factory: Factory) => factory.status()[0]!

describe('a factory with a local site', { concurrency: true }, () => {
  test('starts no pilot while there is nothing to run, and its pilots at once when there is', async (t) => {
    const place = await setting({ count: 3 })
    const registry = watching(place)
    const factory = start(t, place, registry)
    await eventually('it has looked', () => here(factory).max === 3)
    assert.equal(registry.created, 0)
    registry.setDemand({ queued: 100 })
    factory.wake()
    await eventually('three are up', () => here(factory).registered === 3)
    assert.partialDeepStrictEqual(here(factory), { wanted: 3, running: 3, pending: 0, held: 0 })
    assert.equal(registry.created, 3)
  })

  test('replaces a pilot that is killed, and never has more than it may', async (t) => {
    const place = await setting({ count: 3 })
    const registry = watching(place)
    registry.setDemand({ queued: 100, leased: 5 })
    const factory = start(t, place, registry)
    for (let round = 0; round < 3; round++) {
      await eventually('three are up', () => here(factory).registered === 3)
      // By now each has proved useful: an end is no failure.
      registry.setDemand({ queued: 100 })
      const [victim] = registry.list('here')
      process.kill(pidOf(victim!), 'SIGKILL')
      await eventually('it is noticed', () => registry.endings.some(({ pilot }) => pilot === victim!.pilot))
    }
    await eventually('three are up', () => here(factory).registered === 3)
    assert.equal(registry.most, 3)
  })

  test('pauses when pilots die at once, says why with their last words, and tries again with one', async (t) => {
    const place = await setting({ count: 4 })
    const registry = watching(place)
    registry.setDemand({ queued: 100 })
    const wrong = { ...place, runtime: { path: '/nowhere', sha256: place.runtime.sha256 } }
    writeFileSync(
      join(place.folder, 'factory.yaml'),
      readFileSync(join(place.folder, 'factory.yaml'), 'utf8').replace(place.folder + '/cache', '/proc/no'),
    )
    const factory = start(t, wrong, registry)
    const { paused } = await eventually(
      'it pauses',
      () => here(factory).paused !== undefined && here(factory),
    )
    assert.match(paused ?? '', /no-space: no cache folder can be used: tried \/proc\/no\)/)
    await eventually('it tries again', () => registry.created > 4)
    await eventually('that fails, too', () => registry.endings.length >= 5)
    const [first, ...later] = registry.creations
    assert.deepEqual(first, { count: 4, beside: 0 })
    for (const trial of later)
      assert.deepEqual(trial, { count: 1, beside: 0 }, 'one, once all others have ended')
  })

  test('shows the end of the log of a pilot that died without last words', async (t) => {
    const place = await setting({}, 'echo "cannot load libonnxruntime.so"; exit 1\n')
    const registry = watching(place)
    registry.setDemand({ queued: 1 })
    const factory = start(t, place, registry)
    const { paused } = await eventually(
      'it pauses',
      () => here(factory).paused !== undefined && here(factory),
    )
    assert.match(paused ?? '', /its log ends:\n[^]*cannot load libonnxruntime\.so/)
  })

  test('stops with whole process groups, also those that ignore being told to', async (t) => {
    const stubborn =
      'trap "" TERM\nsleep 1000 &\necho $! >"$GLEANER_SHARED/child"\n' + markingWorker.replace(/trap.*\n/, '')
    const place = await setting({}, stubborn)
    const registry = watching(place)
    registry.setDemand({ queued: 1 })
    const factory = start(t, place, registry)
    await eventually('it is up', () => here(factory).registered === 1)
    const pids = [pidOf(registry.list('here')[0]!), Number(readFileSync(join(place.marks, 'child'), 'utf8'))]
    assert.deepEqual(pids.map(alive), [true, true])
    await factory.stop({ drain: false })
    // A kill takes effect when the system comes to it.
    await eventually('both are gone', () => !pids.some(alive))
    assert.deepEqual(registry.list('here'), [])
  })

  test('lets pilots finish the queued work before it stops, if asked to', async (t) => {
    const place = await setting({ count: 2 })
    const registry = watching(place)
    registry.setDemand({ queued: 50 })
    const factory = start(t, place, registry)
    await eventually('both are up', () => here(factory).registered === 2)
    const pilots = registry.list('here')
    let stopped = false
    const stop = factory.stop({ drain: true }).then(() => (stopped = true))
    process.kill(pidOf(pilots[0]!), 'SIGKILL')
    await eventually('the loss is noticed', () => registry.endings.length === 1)
    assert.equal(stopped, false)
    assert.equal(registry.created, 2)
    assert.ok(!existsSync(join(place.marks, `${pilots[1]!.pilot}.left`)))
    registry.setDemand({ queued: 0 })
    await stop
    assert.ok(existsSync(join(place.marks, `${pilots[1]!.pilot}.left`)))
  })

  for (const crash of ['created', 'submitted', 'never'] as const)
    test(`finds its pilots after it was killed (${crash === 'never' ? 'while they run' : `as soon as they were ${crash}`})`, async (t) => {
      const place = await setting({ count: 3 })
      const script = fileURLToPath(new URL('support/factory-process.ts', import.meta.url))
      const child = spawn(process.execPath, [script, place.folder, crash], {
        env: { ...process.env, RUNTIME: JSON.stringify(place.runtime) },
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const exit = once(child, 'exit')
      if (crash === 'never') {
        await once(child.stdout, 'data')
        child.kill('SIGKILL')
      }
      assert.deepEqual(await exit, [null, 'SIGKILL'])
      if (crash !== 'created') await eventually('pilots run', () => readdirSync(place.marks).length === 3)

      const registry = watching(place)
      registry.setDemand({ queued: 100 })
      const factory = start(t, place, registry)
      if (crash === 'created') {
        // They count until it is certain that nobody has them, for the answer might only be late.
        await eventually('it has looked', () => here(factory).pending === 3)
        assert.equal(registry.created, 0)
        await eventually('it submits others', () => here(factory).registered === 3)
        return
      }
      await eventually('all three are found', () => here(factory).registered === 3)
      assert.equal(registry.created, 0)
      const pids = registry.list('here').map(pidOf)
      assert.deepEqual(pids.map(alive), [true, true, true])
      await factory.stop({ drain: false })
      assert.deepEqual(pids.map(alive), [false, false, false])
    })
})
