import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { openParts } from '../../../support/manager-parts.ts'

test('while a context is added, how far its bundles are packed can be seen; afterwards there is nothing to see', async () => {
  await using parts = await openParts()
  const folder = join(parts.folder, 'context')
  await mkdir(join(folder, 'app'), { recursive: true })
  await writeFile(join(folder, 'app', 'a.js'), `export const f = () => 1 // ${'x'.repeat(100_000)}\n`)
  await writeFile(
    join(folder, 'context.yaml'),
    'name: app\nlibrary: module\nbundles: { code: app }\nsetup: { bundle: code, file: a.js }\nfunctions: { f: { export: f } }\n',
  )
  const seen: (typeof parts.contexts.packing)[number][] = []
  let isOver = false
  const added = parts.contexts.register(folder).finally(() => (isOver = true))
  while (!isOver) {
    seen.push(...parts.contexts.packing)
    await turn()
  }
  await added
  assert.deepEqual([seen[0]?.path, seen[0]?.bundle], [folder, 'code'])
  assert.ok(seen.every(({ done, total }) => done <= total && total > 100_000))
  assert.deepEqual(parts.contexts.packing, [])
  await assert.rejects(parts.contexts.register(join(folder, 'nowhere')))
  assert.deepEqual(parts.contexts.packing, [])
})
