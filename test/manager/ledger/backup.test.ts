import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { request } from 'undici'
import { refOf } from '../../../src/blobs/blob-folder.ts'
import type { Manager } from '../../../src/manager/manager.ts'
import type { JobInfo, ResultsResponse } from '../../../src/protocol/client.ts'
import type { Status } from '../../../src/protocol/status.ts'
import { ask, HttpWorker, makeState, removeState, startOn } from '../../support/manager.ts'

let folder: string
let elsewhere: string
let manager: Manager & { token: string }

beforeEach(async () => {
  folder = await makeState()
  elsewhere = await mkdtemp(join(tmpdir(), 'gleaner-backup-'))
  manager = await startOn(folder)
})

afterEach(async () => {
  await manager.close()
  await removeState(folder)
  await removeState(elsewhere)
})

const user = <T>(path: string, body?: unknown) => ask<T>(manager.url, manager.token, path, body)
const backUp = (file: string) =>
  user<{ bytes: number; blobBytes: number; error: { message: string } }>('/v1/backup', { file })

describe('a backup', () => {
  test('made under load is one moment of the ledger, and a factory goes on from it', async () => {
    const { body: job } = await user<JobInfo>('/v1/jobs', { name: 'job', context: 'ctx' })
    const worker = await HttpWorker.register(manager)
    let over = false
    const load = async () => {
      for (let i = 0; !over; i++) {
        const tasks = Array.from({ length: 50 }, (_, k) => ({ key: `${i}-${k}`, input: 'x'.repeat(2_000) }))
        await user(`/v1/jobs/${job.id}/tasks`, { tasks })
        await worker.workUntilIdle(50)
        if (i === 20) started.resolve()
      }
    }
    const started = Promise.withResolvers<void>()
    const loading = load()
    await started.promise
    const file = join(elsewhere, 'ledger.db')
    const { body } = await backUp(file)
    over = true
    await loading
    assert.equal((await stat(file)).size, body.bytes)
    assert.equal((await stat(file)).mode & 0o777, 0o600)
    assert.deepEqual(await readdir(elsewhere), ['ledger.db'])

    await manager.close()
    manager = await startOn(elsewhere)
    const { tasks } = (await user<Status>('/v1/status')).body
    assert.ok(tasks.done >= 20 * 50, `${tasks.done} done`)
    assert.equal(tasks.failed, 0)
    // A worker of the ledger's later life may hold tasks whose numbers are given out anew.
    assert.equal((await worker.exchange()).status, 410)
    await user(`/v1/jobs/${job.id}/tasks`, { tasks: [{ key: 'after', input: 1 }] })
    const next = await HttpWorker.register(manager)
    assert.equal(await next.workUntilIdle(), tasks.queued + 1)
    const { results } = (await user<ResultsResponse>(`/v1/jobs/${job.id}/results?limit=20000`)).body
    assert.equal(results.length, tasks.done + tasks.queued + 1)
    await worker.die()
    await next.die()
  })

  test('says how much it leaves out', async () => {
    assert.equal((await backUp(join(elsewhere, 'one'))).body.blobBytes, 0)
    const blob = Buffer.from('a large argument')
    const answer = await request(`${manager.url}/v1/blobs/${refOf(blob).sha256}`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${manager.token}`, 'content-type': 'application/octet-stream' },
      body: blob,
    })
    await answer.body.dump()
    assert.equal((await backUp(join(elsewhere, 'two'))).body.blobBytes, blob.length)
  })

  test('never replaces a file', async () => {
    const file = join(elsewhere, 'precious')
    await writeFile(file, 'precious')
    assert.equal((await backUp(file)).status, 409)
    assert.equal(await readFile(file, 'utf8'), 'precious')
  })

  test('that cannot be made is refused with a line that says why, and leaves nothing', async () => {
    const refused = await backUp(join(elsewhere, 'no', 'such', 'folder'))
    assert.equal(refused.status, 400)
    assert.match(refused.body.error.message, /cannot be made: there is no such folder/)
    assert.equal((await backUp('relative')).status, 400)
    assert.deepEqual(await readdir(elsewhere), [])
  })
})
