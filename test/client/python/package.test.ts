import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { makeWheel, wheelName } from '../../../src/client/python-wheel.ts'
import { version } from '../../../src/cli/version.ts'
import { PACKAGE, runPythonTests } from './run.ts'

test("Python's package, by itself", async (t) => {
  await runPythonTests(t, ['test_values', 'test_program'])
})

test("Python's package is written in what Python 3.8 knows", async () => {
  const files = globSync('**/*.py', { cwd: PACKAGE }).map((file) => join(PACKAGE, file))
  assert.ok(files.length > 10)
  const code = `
import ast, sys
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        ast.parse(file.read(), path, feature_version=(3, 8))`
  await promisify(execFile)('python3', ['-c', code, ...files])
})

test("Python's package has the version of the whole", () => {
  const text = readFileSync(join(PACKAGE, 'gleaner/__init__.py'), 'utf8')
  assert.ok(text.includes(`__version__ = "${version}"`))
})

test('the wheel is one that pip installs, with all of the package, and the same each time', async () => {
  const bytes = makeWheel(PACKAGE, version)
  assert.deepEqual(makeWheel(PACKAGE, version), bytes)
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-wheel-'))
  try {
    const wheel = join(folder, wheelName(version))
    await writeFile(wheel, bytes)
    const python = (args: string[], env: Record<string, string> = {}) =>
      promisify(execFile)('python3', args, { cwd: folder, env: { ...process.env, ...env } })
    await python(['-m', 'zipfile', '-t', wheel])
    const options = [
      '--no-index',
      '--no-deps',
      '--quiet',
      '--disable-pip-version-check',
      '--target',
      'installed',
    ]
    await python(['-m', 'pip', 'install', ...options, wheel])
    const code =
      'import gleaner; print(gleaner.__version__, gleaner.__file__, gleaner.connect, gleaner.Executor)'
    const { stdout } = await python(['-c', code], { PYTHONPATH: join(folder, 'installed') })
    assert.ok(stdout.startsWith(`${version} ${folder}`), stdout)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
