import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { readIds } from './factory-fixture.ts'

const DEMO = fileURLToPath(new URL('../../scripts/demo.ts', import.meta.url))

test('the demo verifies 10,000 claims, loses nothing to a kill, and ends with what it achieved', async () => {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [DEMO], { timeout: 400_000 })
  const [accuracy, throughput, results] = stdout.trimEnd().split('\n').slice(-3)
  assert.match(accuracy!, /^accuracy 0\.\d{3}$/)
  assert.ok(Number(accuracy!.split(' ')[1]) >= 0.9, accuracy)
  assert.match(throughput!, /^throughput \d+ inferences\/s$/)
  assert.match(results!, /^results \/.*\.jsonl$/)
  assert.match(stderr, /pilot p\d+ was killed on purpose, with SIGKILL, while it had \d+ claims in hand/)
  const file = results!.slice('results '.length)
  assert.equal(new Set(await readIds(file)).size, 10_000)
  await rm(dirname(file), { recursive: true, force: true })
})
