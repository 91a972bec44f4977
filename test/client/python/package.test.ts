import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { globSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
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
