import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { request } from 'undici'
import { makeState, removeState, startOn } from '../../support/manager.ts'

test('pilots get the archive of the runtime that they ask for by its hash', async (context) => {
  const folder = await makeState()
  context.after(() => removeState(folder))
  const archive = async (name: string) => {
    const path = join(folder, name)
    await writeFile(path, name)
    return { path, sha256: createHash('sha256').update(name).digest('hex'), bytes: name.length }
  }
  const runtime = { ...(await archive('a.tar.gz')), zstd: await archive('a.tar.zst') }
  const manager = await startOn(folder, { runtime })
  context.after(() => manager.close())
  const { token } = manager.registry.create('here', 1)[0]!
  const get = (sha256: string) =>
    request(`${manager.url}/v1/runtime/${sha256}`, { headers: { authorization: `Bearer ${token}` } })

  for (const { path, sha256 } of [runtime, runtime.zstd]) {
    const { statusCode, body } = await get(sha256)
    assert.equal(statusCode, 200)
    assert.equal(join(folder, await body.text()), path)
  }
  const { statusCode, body } = await get('0'.repeat(64))
  await body.dump()
  assert.equal(statusCode, 404)
})
