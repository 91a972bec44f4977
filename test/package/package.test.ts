import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { readIds } from '../end-to-end/factory-fixture.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const LIMIT_MS = 600_000
/** As many as lie beside the example. */
const CLAIMS = 1_000

describe('the package, installed into an empty folder', () => {
  let folder = ''
  let app = ''
  let packed: string[] = []

  async function call(command: string, args: string[], cwd = app): Promise<string> {
    // As a user's shell: without what the npm that runs this test has set.
    const own = Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name))
    const env = {
      ...Object.fromEntries(own),
      GLEANER_STATE: join(folder, 'state'),
      XDG_CONFIG_HOME: join(folder, 'config'),
    }
    const { stdout } = await promisify(execFile)(command, args, {
      cwd,
      env,
      timeout: LIMIT_MS,
      maxBuffer: 64 << 20,
    })
    return stdout
  }
  const factory = (...args: string[]) => call('npx', ['--no-install', 'factory', ...args])

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gleaner-package-'))
    app = join(folder, 'app')
    await mkdir(app)
    const output = await call('npm', ['pack', '--json', '--pack-destination', folder], ROOT)
    const [pack] = JSON.parse(output.slice(output.indexOf('[\n'))) as {
      filename: string
      files: { path: string }[]
    }[]
    packed = pack!.files.map(({ path }) => path)
    await writeFile(join(app, 'package.json'), '{"private":true,"type":"module"}')
    const tarball = join(folder, pack!.filename)
    // All that runs is in the packages as they are: no install script is needed, neither a compiler.
    await call('npm', ['install', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', tarball])
    await mkdir(join(folder, 'config', 'gleaner'), { recursive: true })
    const cache = join(folder, 'cache')
    await writeFile(
      join(folder, 'config', 'gleaner', 'factory.yaml'),
      `sites: { here: { cacheFolder: ${cache} } }\n`,
    )
  })
  after(async () => {
    await factory('stop').catch(() => {})
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  })

  test('holds what runs, compiled, and nothing else', () => {
    for (const file of [
      'bin/factory.js',
      'dist/cli/main.js',
      'dist/pilot/main.js',
      'dist/client/python/gleaner/worker/library.py',
      'dist/client/python/gleaner-0.1.0-py3-none-any.whl',
      'templates/pilot.sh',
      'templates/fact-verification/claims.jsonl',
      'README.md',
    ]) {
      assert.ok(packed.includes(file), `${file} is missing`)
    }
    const stray = packed.filter(
      (file) =>
        !/^(bin|dist|docs|templates)\/|^(package\.json|(README|CHANGELOG|SECURITY)\.md|LICENSE)$/.test(file),
    )
    assert.deepEqual(stray, [])
  })

  test('gives a factory command that does the main job', async () => {
    const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { version: string }
    assert.equal((await factory('--version')).trim(), version)
    const init = await factory('init')
    const claims = join(folder, 'state', 'contexts', 'fact-verification', 'claims.jsonl')
    assert.ok(init.includes(`factory run ${claims} --context fact-verification`), init)
    assert.match(await factory('start', '--detach'), /1 context \(fact-verification\)/)
    const files = ['run', claims, '--out', 'results.jsonl']
    const run = await factory(...files, '--context', 'fact-verification', '--expect', 'label')
    assert.match(run, /^1,000 done, 0 failed/)
    assert.ok(Number(/^accuracy (.*)$/m.exec(run)?.[1]) >= 0.8, run)
    assert.equal(new Set(await readIds(join(app, 'results.jsonl'))).size, CLAIMS)
  })

  test('gives a client to import, by which an application calls its own functions', async () => {
    await writeFile(
      join(app, 'words.ts'),
      `import { loadVariable } from 'gleaner'
      export const load = (word: string) => ({ word })
      export const greet = (name: string): string => loadVariable<string>('word') + ' ' + name`,
    )
    await writeFile(
      join(app, 'app.ts'),
      `import { connect } from 'gleaner'
      await using factory = connect()
      const { greet } = factory.app<typeof import('./words.ts')>('./words.ts', { context: ['load', 'hello'] })
      console.log(await greet('world'))`,
    )
    assert.equal(await call(process.execPath, ['app.ts']), 'hello world\n')
    assert.equal(await factory('stop'), 'stopped\n')
  })
})
