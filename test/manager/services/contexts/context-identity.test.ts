import assert from 'node:assert/strict'
import { appendFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { createBundle } from '../../../../src/bundle/create/create-bundle.ts'
import { addContext } from '../../../../src/manager/ledger/context-records.ts'
import type { ContextSpec } from '../../../../src/protocol/contexts/context.ts'
import { openParts } from '../../../support/manager-parts.ts'

/** A context as another version registered it, which cut files differently and knew fewer settings; and its folder. */
async function registeredBefore(parts: Awaited<ReturnType<typeof openParts>>) {
  const folder = join(parts.folder, 'mine')
  await mkdir(join(folder, 'app'), { recursive: true })
  await writeFile(join(folder, 'app', 'index.js'), 'x'.repeat(100_000))
  const setup = { bundle: 'app', file: 'index.js' }
  const functions = { f: { export: 'f' } }
  const text = { name: 'mine', bundles: { app: './app' }, library: 'module', setup, functions }
  await writeFile(join(folder, 'context.yaml'), JSON.stringify(text))
  const options = { store: parts.store, paths: [join(folder, 'app')], kind: 'files' as const }
  const now = await createBundle(options)
  const files = now.manifest.files.map((file) => ({ ...file, pieceSize: 1 << 20 }))
  const before = await createBundle({ ...options, like: [{ ...now.manifest, files }] })
  assert.notEqual(before.id, now.id)
  const spec = { library: 'module', setup, functions } as unknown as ContextSpec['spec']
  const context: ContextSpec = { id: 'a'.repeat(64), name: 'mine', bundles: { app: before.id }, spec }
  await addContext(parts.ledger, context, 1)
  await parts.restart()
  return { folder, context }
}

test('a context that another version registered is the same one, however that cut its files', async () => {
  await using parts = await openParts()
  const { folder, context } = await registeredBefore(parts)
  const job = await parts.jobs.create({
    name: 'job',
    context: 'mine',
    options: { retries: 0, priority: 0, keepMs: 0 },
  })
  const again = await parts.contexts.register(folder)
  assert.deepEqual([again.id, again.bundles], [context.id, context.bundles])
  const found = await parts.jobs.create({
    name: 'job',
    context: 'mine',
    options: { retries: 0, priority: 0, keepMs: 0 },
  })
  assert.equal(found.id, job.id)
})

test('a context that has changed is another one, and a job of before says so', async () => {
  await using parts = await openParts()
  const { folder, context } = await registeredBefore(parts)
  const options = { retries: 0, priority: 0, keepMs: 0 }
  await parts.jobs.create({ name: 'job', context: 'mine', options })
  await appendFile(join(folder, 'app', 'index.js'), 'y')
  assert.notEqual((await parts.contexts.register(folder)).id, context.id)
  await assert.rejects(parts.jobs.create({ name: 'job', context: 'mine', options }), {
    status: 409,
    message: /context "mine" has changed since job 1 \("job"\)/,
  })
})
