import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { pino } from 'pino'
import { request } from 'undici'
import { refOf } from '../../../../src/blobs/blob-folder.ts'
import { openStore } from '../../../../src/bundle/store/store.ts'
import type { ContextSpec } from '../../../../src/protocol/contexts/context.ts'
import { ask, makeState, removeState, startOn } from '../../../support/manager.ts'

const context = {
  name: 'uploaded',
  library: 'module',
  setup: { bundle: 'code', file: 'index.js' },
  functions: { f: { export: 'f' } },
}
const code = Buffer.from('export const f = () => 1')
const blob = refOf(code)

test('a context may come as blobs, with no folder that client and manager both see', async () => {
  const folder = await makeState()
  const store = await openStore({ folder: join(folder, 'store'), log: pino({ level: 'silent' }) })
  const manager = await startOn(folder, { store })
  try {
    const upload = (files: object) =>
      ask<ContextSpec & { error: { message: string } }>(manager.url, manager.token, '/v1/contexts/upload', {
        context,
        files,
      })
    const fine = { code: [{ path: 'index.js', blob }, { path: 'parts/empty' }] }
    assert.equal((await upload(fine)).status, 409)
    await request(`${manager.url}/v1/blobs/${blob.sha256}`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${manager.token}`, 'content-type': 'application/octet-stream' },
      body: code,
    })
    for (const path of ['../outside.js', '/etc/outside.js', 'a/../../outside.js', '']) {
      assert.equal((await upload({ code: [{ path, blob }] })).status, 400, path)
    }
    assert.equal((await upload({ '../code': [{ path: 'index.js', blob }] })).status, 400)
    const both = await upload({
      code: [
        { path: 'a', blob },
        { path: 'a/b', blob },
      ],
    })
    assert.equal(both.status, 400, both.body.error?.message)
    assert.match((await upload({ other: fine.code })).body.error.message, /names the bundle "code"/)

    const elsewhere = { ...context, bundles: { model: '/on/another/machine' } }
    const refused = await ask(manager.url, manager.token, '/v1/contexts/upload', {
      context: elsewhere,
      files: fine,
    })
    assert.equal(
      (refused.body as { error: { message: string } }).error.message,
      "the context: bundles.model: there is no folder, nor a tar file, /on/another/machine on the factory's machine",
    )

    const { status, body } = await upload(fine)
    assert.deepEqual([status, body.name], [200, 'uploaded'])
    const manifest = await store.manifest(body.bundles.code!)
    assert.deepEqual(
      manifest?.files.map(({ path, size }) => [path, size]),
      [
        ['index.js', code.length],
        ['parts/empty', 0],
      ],
    )
    assert.deepEqual(await readFile(store.fileOf(manifest.files[0]!)), code)
    assert.deepEqual(await readdir(store.temporary), [])
  } finally {
    await manager.close()
    await store[Symbol.asyncDispose]()
    await removeState(folder)
  }
})
