import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { JobOptions } from '../../../../src/protocol/client.ts'
import { CONTEXT } from '../../../support/manager.ts'
import { openParts } from '../../../support/manager-parts.ts'

const HOUR = 3_600_000
const run = promisify(execFile)

/** The parts of a manager, and versions of a module that share a bundle. */
async function begin() {
  const parts = await openParts()
  const { folder, store } = parts
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
    return await parts.contexts.register(own, keepMs)
  }
  return Object.assign(parts, {
    register,
    names: () =>
      parts.contexts
        .list()
        .map(({ name }) => name)
        .filter((name) => name !== CONTEXT.name),
    has: async (bundle: string) => (await store.manifest(bundle)) !== undefined,
  })
}

test('a context of the configuration is waited for until it is registered, however early a job needs it', async () => {
  await using here = await begin()
  await here.register('first')
  const paths = [join(here.folder, 'first')]
  const registered = here.contexts.registerAll(paths)
  assert.throws(() => here.contexts.named('model-later'), { status: 429, message: /being registered/ })
  assert.equal(here.contexts.named('model-first').name, 'model-first')
  assert.deepEqual(await registered, ['model-first'])
  assert.throws(() => here.contexts.named('model-later'), { status: 404, message: /known: .*model-first/ })
})

describe('a context with something strange in it is refused, saying what and where:', () => {
  const strange: Record<string, [make: (folder: string) => Promise<unknown>, message: RegExp]> = {
    'a FIFO among its files': [(own) => run('mkfifo', [join(own, 'code', 'pipe')]), /bundles\.code: .*pipe/],
    'a link that leads to itself': [
      (own) => symlink('loop', join(own, 'code', 'loop')),
      /bundles\.code: .*loop/,
    ],
    'a link to a device': [(own) => symlink('/dev/zero', join(own, 'code', 'zero')), /bundles\.code: .*zero/],
    'aliases that stand for too much': [
      (own) => {
        const lines = ['a: &a [x,x,x,x,x,x,x,x,x,x]']
        for (const [is, of] of ['ba', 'cb', 'dc', 'ed', 'fe']) {
          lines.push(`${is}: &${is} [${Array.from({ length: 10 }, () => `*${of}`).join()}]`)
        }
        return writeFile(join(own, 'context.yaml'), lines.join('\n'))
      },
      /context\.yaml: .*alias/i,
    ],
    'a bundle that only all objects have': [
      (own) =>
        writeFile(
          join(own, 'context.yaml'),
          'name: m\nbundles: { code: ./code }\nlibrary: module\nsetup: { bundle: constructor, file: index.js }\nfunctions: { f: { export: f } }\n',
        ),
      /setup names the bundle "constructor", but bundles has none/,
    ],
  }
  for (const [what, [make, message]] of Object.entries(strange)) {
    test(what, async () => {
      await using here = await begin()
      await here.register('v')
      const own = join(here.folder, 'v')
      await make(own)
      await assert.rejects(here.contexts.register(own), { status: 400, message })
    })
  }
})

describe('a context that need not stay', () => {
  test('goes when it was not used for so long, with the files of no other', async () => {
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
    const { name } = await here.register('used', HOUR)
    const job = await here.jobs.create({ name: 'job', context: name, options: JobOptions.parse({}) })
    here.pass(10 * HOUR)
    await here.restart()
    await here.contexts.sweep()
    await here.jobs.cancel(job.id)
    here.pass(HOUR - 1)
    await here.contexts.sweep()
    assert.deepEqual(here.names(), ['model-used'])
    here.pass(1)
    await here.contexts.sweep()
    assert.deepEqual(here.names(), [])
    await here.restart()
    assert.deepEqual(here.names(), [])
  })

  test('comes back as it was when it is registered again, and stays if a worker asks for it', async () => {
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
