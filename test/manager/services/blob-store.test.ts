import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { request } from 'undici'
import { refOf } from '../../../src/blobs/blob-folder.ts'
import type { BlobStore } from '../../../src/manager/services/blob-store.ts'
import type { Manager } from '../../../src/manager/manager.ts'
import type { JobInfo, ResultsResponse } from '../../../src/protocol/client.ts'
import { JobOptions } from '../../../src/protocol/client.ts'
import { ask, CONTEXT, HttpWorker, makeState, removeState, startOn } from '../../support/manager.ts'
import { openParts } from '../../support/manager-parts.ts'
import { until } from '../../support/until.ts'

const bytes = Buffer.from('some bytes of an argument')
const ref = refOf(bytes)

describe('blobs over HTTP', () => {
  let folder: string
  let manager: Manager & { token: string }
  let worker: HttpWorker
  beforeEach(async () => {
    folder = await makeState()
    manager = await startOn(folder)
    worker = await HttpWorker.register(manager)
  })
  afterEach(async () => {
    await worker.die()
    await manager.close()
    await removeState(folder)
  })

  async function send(
    method: 'GET' | 'PUT',
    path: string,
    token: string,
    body?: Buffer | Readable,
    headers = {},
  ) {
    const answer = await request(manager.url + path, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body && { 'content-type': 'application/octet-stream' }),
        ...headers,
      },
      body: body ?? null,
    })
    return { status: answer.statusCode, bytes: Buffer.from(await answer.body.arrayBuffer()) }
  }
  const path = `/v1/blobs/${ref.sha256}`
  const own = () => `/v1/workers/${worker.id}/blobs/${ref.sha256}`
  const stored = () => readdir(join(folder, 'blobs'))

  test('go in and out for users and workers, and for no others', async () => {
    const other = await HttpWorker.register(manager)
    for (const [where, token] of [
      [path, worker.session],
      [path, 'u.x'],
      [own(), manager.token],
      [own(), other.session],
    ] as const) {
      assert.equal((await send('PUT', where, token, bytes)).status, 401)
      assert.equal((await send('GET', where, token)).status, 401)
    }
    assert.deepEqual(await stored(), [])
    assert.equal((await send('GET', path, manager.token)).status, 404)
    const wanted = await ask(manager.url, manager.token, '/v1/blobs', { blobs: [ref] })
    assert.deepEqual(wanted.body, { wanted: [ref.sha256] })
    assert.equal((await send('PUT', own(), worker.session, bytes)).status, 200)
    assert.deepEqual((await ask(manager.url, manager.token, '/v1/blobs', { blobs: [ref] })).body, {
      wanted: [],
    })
    assert.deepEqual((await send('GET', path, manager.token)).bytes, bytes)
    assert.deepEqual((await send('GET', own(), worker.session)).bytes, bytes)
    await other.die()
  })

  test('are refused unless all of it is what its name says', async () => {
    const put = async (body: Buffer, headers = {}) =>
      (await send('PUT', path, manager.token, body, headers)).status
    assert.equal(await put(Buffer.from('other bytes')), 400)
    assert.equal(await put(bytes, { 'content-type': 'application/json' }), 400)
    assert.equal(await put(bytes, { 'content-type': 'text/plain' }), 415)
    assert.equal((await send('PUT', path, manager.token, Readable.from([bytes]))).status, 411)
    assert.equal((await send('PUT', path, manager.token)).status, 415)
    for (const name of ['..%2f..%2fledger.db', '0'.repeat(63), ref.sha256.toUpperCase()]) {
      assert.equal((await send('PUT', `/v1/blobs/${name}`, manager.token, bytes)).status, 400, name)
      assert.equal((await send('GET', `/v1/blobs/${name}`, manager.token)).status, 400, name)
    }
    assert.deepEqual(await stored(), [])
  })

  test('that were removed or cut short by something else are asked for again', async () => {
    const wanted = async () =>
      (await ask<{ wanted: string[] }>(manager.url, manager.token, '/v1/blobs', { blobs: [ref] })).body.wanted
    for (const damage of [(file: string) => rm(file), (file: string) => truncate(file, 3)]) {
      assert.equal((await send('PUT', path, manager.token, bytes)).status, 200)
      await damage(join(folder, 'blobs', ref.sha256))
      const { status, bytes: answer } = await send('GET', path, manager.token)
      assert.equal(status, 404)
      assert.match(answer.toString(), /"code":"GLEANER_NOT_FOUND","message":"blob .* is not here/)
      assert.deepEqual(await wanted(), [ref.sha256])
    }
    assert.equal((await send('PUT', path, manager.token, bytes)).status, 200)
    assert.deepEqual((await send('GET', path, manager.token)).bytes, bytes)
  })

  test('that are only promised take no room from others', async () => {
    const large = Buffer.alloc(300)
    const promised = { bytes: large, ref: refOf(large) }
    await using parts = await openParts({ blobBytes: 1000 })
    const begun = Promise.withResolvers<void>()
    const ends = Promise.withResolvers<void>()
    async function* nothingYet() {
      begun.resolve()
      await ends.promise
      yield promised.bytes
    }
    const putting = Array.from({ length: 10 }, () => parts.blobs.put(promised.ref, nothingYet()))
    await begun.promise
    await parts.blobs.put(ref, Readable.from([bytes]))
    assert.equal(parts.blobs.bytes, bytes.length)
    ends.resolve()
    await Promise.allSettled(putting)
    assert.equal(parts.blobs.bytes, bytes.length + 300)
    assert.deepEqual(parts.blobs.wanted([promised.ref]), [])
  })

  test('that break off leave nothing', async () => {
    async function* half() {
      yield bytes.subarray(0, 5)
      await until(async () => (await stored()).length === 1)
      throw new Error('gone')
    }
    const length = { 'content-length': String(bytes.length) }
    await assert.rejects(send('PUT', path, manager.token, Readable.from(half()), length))
    await until(async () => (await stored()).length === 0)
  })

  test('of tasks must be there; they go with the lease, and those of results with the result', async () => {
    const { body: job } = await ask<JobInfo>(manager.url, manager.token, '/v1/jobs', {
      name: 'j',
      context: 'ctx',
    })
    const tasks = { tasks: [{ key: 'k', input: [1], blobs: [ref] }] }
    const early = await ask(manager.url, manager.token, `/v1/jobs/${job.id}/tasks`, tasks)
    assert.deepEqual([early.status, early.body.error.code], [409, 'GLEANER_CONFLICT'])
    await send('PUT', path, manager.token, bytes)
    assert.equal((await ask(manager.url, manager.token, `/v1/jobs/${job.id}/tasks`, tasks)).status, 200)
    const { body } = await worker.exchange({ room: 1 })
    const [lease] = body.leases
    assert.deepEqual(lease!.tasks[0], { task: lease!.tasks[0]?.task, input: [1], blobs: [ref] })
    const result = refOf(Buffer.from('a result'))
    await worker.exchange({
      results: [
        {
          task: lease!.tasks[0].task,
          lease: lease!.lease,
          outcome: { status: 'done', value: 5 },
          ms: 1,
          blobs: [result],
        },
      ],
    })
    const results = await ask<ResultsResponse>(
      manager.url,
      manager.token,
      `/v1/jobs/${job.id}/results?waitMs=9000`,
    )
    assert.deepEqual(results.body.results[0]?.blobs, [result])
  })

  test('survive a restart, but for what was not whole', async () => {
    await send('PUT', path, manager.token, bytes)
    await manager.close()
    await writeFile(join(folder, 'blobs', `${'a'.repeat(64)}.1-2.new`), 'half of it')
    manager = await startOn(folder)
    assert.deepEqual((await send('GET', path, manager.token)).bytes, bytes)
    assert.deepEqual(await stored(), [ref.sha256])
  })
})

describe('the blobs of a manager', () => {
  const MINUTE = 60_000
  const blob = (text: string) => ({ text, ref: refOf(Buffer.from(text)) })
  const put = (blobs: BlobStore, { text, ref }: ReturnType<typeof blob>) =>
    blobs.put(ref, Readable.from([Buffer.from(text)]))

  async function open(blobBytes?: number) {
    const parts = await openParts({ ...(blobBytes !== undefined && { blobBytes }) })
    return Object.assign(parts, {
      addJob: (name: string) =>
        parts.jobs.create({ name, context: CONTEXT.name, options: JobOptions.parse({}) }),
      stored: () => readdir(join(parts.folder, 'blobs')),
    })
  }

  test('stay while a job refers to them, and a little while longer', async () => {
    await using here = await open()
    const [used, unused] = [blob('used by a task'), blob('of nobody')]
    for (const each of [used, unused]) await put(here.blobs, each)
    const job = await here.addJob('j')
    await here.ledger.tasks.add(job.id, [{ key: 'k', input: '1', blobs: JSON.stringify([used.ref]) }])
    await here.blobs.sweep(() => false)
    assert.equal((await here.stored()).length, 2)
    here.pass(11 * MINUTE)
    await here.blobs.sweep(() => false)
    assert.deepEqual(await here.stored(), [used.ref.sha256])
    assert.deepEqual(here.blobs.wanted([used.ref, unused.ref]), [unused.ref.sha256])
    await here.blobs.sweep(() => true)
    assert.equal((await here.stored()).length, 1, 'somebody asked for it just now')
    here.pass(11 * MINUTE)
    await here.blobs.sweep(() => true)
    assert.deepEqual(await here.stored(), [])
    await assert.rejects(here.blobs.read(used.ref.sha256), /after their job has ended/)
  })

  test('of one job stay when those of another go', async () => {
    await using here = await open()
    const both = blob('used by both')
    await put(here.blobs, both)
    const [one, two] = [await here.addJob('one'), await here.addJob('two')]
    for (const { id } of [one, two]) {
      await here.ledger.tasks.add(id, [{ key: 'k', input: '1', blobs: JSON.stringify([both.ref]) }])
    }
    here.pass(11 * MINUTE)
    await here.blobs.sweep((job) => job === one.id)
    assert.equal((await here.stored()).length, 1)
    await here.blobs.sweep((job) => job === two.id)
    assert.equal((await here.stored()).length, 0)
  })

  test('stay while a client puts them again', async () => {
    await using here = await open()
    const { text, ref } = blob('put twice')
    await put(here.blobs, { text, ref })
    here.pass(11 * MINUTE)
    const come = Promise.withResolvers<Buffer>()
    const again = here.blobs.put(ref, Readable.from([come.promise]))
    await here.blobs.sweep(() => true)
    assert.equal((await here.stored()).filter((name) => name === ref.sha256).length, 1)
    come.resolve(Buffer.from(text))
    await again
    assert.deepEqual(await here.stored(), [ref.sha256])
  })

  test('have so much room, and say what to do when it is used up', async () => {
    await using here = await open(10)
    await put(here.blobs, blob('eight by'))
    await put(here.blobs, blob('2b'))
    const full = {
      status: 507,
      code: 'GLEANER_NO_SPACE',
      message: /close or cancel jobs .* manager\.blobs in factory\.yaml/,
    }
    await assert.rejects(put(here.blobs, blob('x')), full)
    here.pass(11 * MINUTE)
    await here.blobs.sweep(() => true)
    await put(here.blobs, blob('ten  bytes'))
    await assert.rejects(put(here.blobs, blob('y')), full)
    const found = await here.stored()
    assert.deepEqual(found, [createHash('sha256').update('ten  bytes').digest('hex')])
  })

  test('take no more room for being put twice, or for not coming', async () => {
    await using here = await open(10)
    for (let i = 0; i < 5; i++) {
      await put(here.blobs, blob('4byt'))
      await assert.rejects(here.blobs.put(blob('fine').ref, Readable.from([Buffer.from('evil')])), {
        status: 400,
      })
    }
    await put(here.blobs, blob('6bytes'))
    assert.equal((await here.stored()).length, 2)
  })
})
