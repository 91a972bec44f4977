import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { pino } from 'pino'
import { openStore } from '../../src/bundle/store.ts'
import { addJob, cancelJob } from '../../src/core/scheduler.ts'
import { Contexts } from '../../src/manager/contexts.ts'
import { Dispatcher } from '../../src/manager/dispatcher.ts'
import { Ledger } from '../../src/manager/ledger.ts'

const log = pino({ level: 'silent' })
const HOUR = 3_600_000

/** The contexts of a manager whose clock the test sets, and versions of a module that share a bundle. */
async function begin() {
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-contexts-'))
  const ledger = new Ledger(join(folder, 'ledger.db'), log)
  const store = await openStore({ folder: join(folder, 'store'), log })
  let now = 1_000_000_000
  const dispatcher = new Dispatcher(ledger, log, {}, () => now)
  let contexts = new Contexts(ledger, store, dispatcher)
  await mkdir(join(folder, 'native'))
  await writeFile(join(folder, 'native', 'large.node'), 'shared by all versions')

  async function register(version: string, keepMs?: number) {
    const own = join(folder, version)
    await mkdir(join(own, 'code'), { recursive: true })
    await writeFile(join(own, 'code', 'index.js'), `// ${version}`)
    const text = {
      name: `model-${version}`,
      bundles: { code: './code', native: '../native' },
      library: 'module',
      setup: { bundle: 'code', file: 'index.js' },
      functions: { f: { export: 'f' } },
    }
    await writeFile(join(own, 'context.yaml'), JSON.stringify(text))
    return await contexts.register(own, keepMs)
  }
  return {
    register,
    dispatcher,
    get contexts() {
      return contexts
    },
    names: () => contexts.list().map(({ name }) => name),
    pass: (ms: number) => (now += ms),
    has: async (bundle: string) => (await store.manifest(bundle)) !== undefined,
    reopen: () => (contexts = new Contexts(ledger, store, dispatcher)),
    async [Symbol.asyncDispose]() {
      dispatcher.close()
      await store[Symbol.asyncDispose]()
      await ledger.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

describe('a context that need not stay', () => {
  test('goes when nobody has used it for so long, with the files of no other', async () => {
    await using here = await begin()
    const old = await here.register('old', HOUR)
    here.pass(HOUR - 1)
    const next = await here.register('new', HOUR)
    const fixed = await here.register('fixed')
    await here.contexts.sweep()
    assert.equal(here.names().length, 3)
    here.pass(1)
    await here.contexts.sweep()
    assert.deepEqual(here.names(), ['model-new', 'model-fixed'])
    assert.ok(!(await here.has(old.bundles.code!)))
    assert.ok((await here.has(old.bundles.native!)) && (await here.has(next.bundles.code!)))
    assert.equal(here.contexts.byId(old.id).name, 'model-old', 'jobs of it can still be shown')
    here.pass(1000 * HOUR)
    await here.contexts.sweep()
    assert.deepEqual(here.names(), ['model-fixed'])
    assert.ok(await here.has(fixed.bundles.native!))
  })

  test('stays while a job is open in it, and so long afterwards, also over a restart', async () => {
    await using here = await begin()
    const { id } = await here.register('used', HOUR)
    addJob(here.dispatcher.state, { id: 1, context: id, function: 'f', retries: 0, priority: 0 })
    here.pass(10 * HOUR)
    here.reopen()
    await here.contexts.sweep()
    here.dispatcher.apply(cancelJob(here.dispatcher.state, 1, here.dispatcher.now))
    here.pass(HOUR - 1)
    await here.contexts.sweep()
    assert.deepEqual(here.names(), ['model-used'])
    here.pass(1)
    await here.contexts.sweep()
    assert.deepEqual(here.names(), [])
    here.reopen()
    assert.deepEqual(here.names(), [])
  })

  test('comes back as it was when it is registered again, and stays if somebody asks for it', async () => {
    await using here = await begin()
    const { id, bundles } = await here.register('again', HOUR)
    here.pass(HOUR)
    await here.contexts.sweep()
    const back = await here.register('again', HOUR)
    assert.equal(back.id, id)
    assert.ok(await here.has(bundles.code!))
    here.pass(HOUR - 1)
    here.contexts.named('model-again')
    here.pass(1)
    await here.contexts.sweep()
    assert.deepEqual(here.names(), ['model-again'])
  })

  test('never goes between a registration that finds its files and the end of that', async () => {
    await using here = await begin()
    await here.register('a', HOUR)
    here.pass(HOUR)
    const [context] = await Promise.all([here.register('b', HOUR), here.contexts.sweep()])
    assert.ok(await here.has(context.bundles.native!))
    const [, again] = await Promise.all([here.contexts.sweep(), here.register('c', HOUR)])
    assert.ok(await here.has(again.bundles.native!))
  })
})
