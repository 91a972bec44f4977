import assert from 'node:assert/strict'
import { rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { BATCH } from '../../src/client/task-batches.ts'
import {
  ApiError,
  connect,
  InputError,
  NotRunningError,
  ProtocolError,
  UnreachableError,
  type ConnectOptions,
  type ResultRow,
} from '../../src/client/index.ts'
import { fakeManager, type FakeManager } from './fake-manager.ts'

const REQUEST = { name: 'a job', context: 'echo' }

const connectTo = ({ state }: FakeManager, options: ConnectOptions = {}) => connect({ state, ...options })

describe('a client', () => {
  test('submits a job and reads every result in order, from any cursor', async () => {
    await using manager = await fakeManager()
    await using client = connectTo(manager)
    const job = await client.createJob(REQUEST)
    const keys = Array.from({ length: 25 }, (_, i) => `k${i}`)
    assert.deepEqual(await job.add(keys.map((key) => ({ key, input: key }))), {
      added: 25,
      known: 0,
      changed: 0,
    })
    assert.deepEqual(await job.add([{ key: 'k3', input: 'k3' }]), { added: 0, known: 1, changed: 0 })
    assert.equal((await job.close()).state, 'finished')

    const rows = await Array.fromAsync(job.results({ limit: 10 }))
    assert.deepEqual(
      rows.map(({ key }) => key),
      keys,
    )
    assert.deepEqual(rows[3]?.value, { echo: 'k3' })
    const rest = await Array.fromAsync(client.job(job.id).results({ after: rows[19]?.cursor ?? 0 }))
    assert.deepEqual(rest, rows.slice(20))
  })

  test('waits for results that are still to come', async () => {
    await using manager = await fakeManager()
    await using client = connectTo(manager)
    manager.run = () => 'held'
    const job = await client.createJob(REQUEST)
    await job.add([{ key: 'late', input: 1 }])
    await job.close()
    const rows = Array.fromAsync(job.results())
    manager.run = () => ({ status: 'done', value: 'here' })
    manager.release()
    assert.deepEqual(
      (await rows).map(({ value }) => value),
      ['here'],
    )
  })

  test('takes tasks from a source no faster than the manager commits them', async () => {
    await using manager = await fakeManager()
    await using client = connectTo(manager)
    const job = await client.createJob(REQUEST)
    let taken = 0
    let committed = 0
    async function* source() {
      for (; taken < 3 * BATCH.tasks + 1; taken++) {
        assert.ok(taken <= committed + BATCH.tasks, 'more than one batch ahead')
        yield await Promise.resolve({ key: `${taken}`, input: null })
      }
    }
    await job.add(source(), { onBatch: ({ added }) => (committed += added) })
    assert.equal(committed, 3 * BATCH.tasks + 1)
  })

  test('refuses an input that JSON cannot hold, and one that is too long', async () => {
    await using manager = await fakeManager()
    await using client = connectTo(manager)
    const job = client.job(1)
    await assert.rejects(job.add([{ key: 'f', input: () => 1 }]), InputError)
    await assert.rejects(job.add([{ key: 'long', input: 'x'.repeat(9 << 20) }]), /task long is longer/)
    assert.deepEqual(manager.requests, [])
  })

  test('says at once that no factory is running, whether it never was or was killed', async () => {
    await using manager = await fakeManager()
    const file = join(manager.state, 'endpoint.json')
    await using client = connectTo(manager)
    await rm(file)
    await assert.rejects(client.status(), NotRunningError)
    // The number of a process that cannot exist.
    const dead = { url: 'http://127.0.0.1:1', token: 'x'.repeat(32), pid: 2 ** 30, host: hostname() }
    await writeFile(file, JSON.stringify(dead))
    await assert.rejects(client.status(), NotRunningError)
    await writeFile(file, '{"url":')
    await assert.rejects(client.status(), /endpoint.json is damaged/)
  })

  test('carries on through a manager that restarts on another port with another token', async () => {
    await using manager = await fakeManager()
    const lost: UnreachableError[] = []
    const back = Promise.withResolvers<void>()
    const onRetry = (error: UnreachableError) => {
      lost.push(error)
      back.resolve()
    }
    await using client = connectTo(manager, { onRetry })
    manager.run = () => 'held'
    const job = await client.createJob(REQUEST)
    await job.add([{ key: 'a', input: 1 }])
    await job.close()
    const rows = Array.fromAsync(job.results())
    await manager.stop()
    await back.promise
    manager.run = (input) => ({ status: 'done', value: input as number })
    await manager.start()
    manager.release()
    assert.deepEqual(
      (await rows).map(({ key, value }: ResultRow) => [key, value]),
      [['a', 1]],
    )
    assert.ok(lost.length > 0)
  })

  test('tries again when the connection drops or the manager is busy', async () => {
    await using manager = await fakeManager()
    await using client = connectTo(manager)
    let turns = 0
    manager.before = (request, response) => {
      turns++
      if (turns === 1) request.socket.destroy()
      if (turns === 2) response.writeHead(503).end()
      if (turns === 3) response.writeHead(408).end()
      return turns <= 3
    }
    assert.equal((await client.status()).version, '0.0.0')
    assert.equal(turns, 4)
  })

  test('tries nothing again once it is closed', async () => {
    const manager = await fakeManager()
    const trying = Promise.withResolvers<void>()
    const client = connectTo(manager, { onRetry: () => trying.resolve() })
    await client.status()
    await manager[Symbol.asyncDispose]()
    const asked = client.status()
    await trying.promise
    await client.close()
    await assert.rejects(asked, /the client was closed/)
  })

  test('gives up when its patience ends', async () => {
    await using manager = await fakeManager()
    await using client = connectTo(manager, { patienceMs: 0 })
    manager.before = (request) => Boolean(request.socket.destroy())
    await assert.rejects(client.status(), UnreachableError)
  })

  test('never sends a request to stop twice', async () => {
    await using manager = await fakeManager()
    await using client = connectTo(manager)
    manager.before = (request) => Boolean(request.socket.destroy())
    await assert.rejects(client.stop(), UnreachableError)
    assert.deepEqual(manager.requests, ['POST /v1/stop'])
  })

  test('turns refusals into typed errors', async () => {
    await using manager = await fakeManager()
    await using client = connectTo(manager)
    await assert.rejects(client.job(7).info(), (error) => {
      assert.ok(error instanceof ApiError)
      assert.deepEqual([error.status, error.code, error.message], [404, 'unknown_job', 'there is no job 7'])
      return true
    })
    await using stranger = connect({ url: await urlOf(manager), token: 'wrong' })
    await assert.rejects(
      stranger.status(),
      (error) => error instanceof ApiError && error.code === 'unauthorized',
    )
  })

  test('takes nothing from a server that does not speak the protocol', async () => {
    await using manager = await fakeManager()
    await using client = connectTo(manager)
    manager.before = (_, response) => Boolean(response.end('{"jobs":[{"id":"one"}]}'))
    await assert.rejects(client.jobs(), ProtocolError)
    manager.before = (_, response) => Boolean(response.end('<html>'))
    await assert.rejects(client.jobs(), ProtocolError)
    manager.before = (_, response) => Boolean(response.writeHead(404).end('<html>'))
    await assert.rejects(client.jobs(), /GET \/v1\/jobs was answered with HTTP status 404/)
  })

  test('stops waiting when it is told to, in a request or between two', async () => {
    await using manager = await fakeManager()
    const asked = Promise.withResolvers<void>()
    const failed = Promise.withResolvers<void>()
    await using client = connectTo(manager, { onRetry: () => failed.resolve() })
    const reason = new Error('enough')

    manager.before = () => {
      asked.resolve()
      return true
    }
    const inRequest = new AbortController()
    const waiting = assert.rejects(client.status({ signal: inRequest.signal }), reason)
    await asked.promise
    inRequest.abort(reason)
    await waiting

    manager.before = (request) => Boolean(request.socket.destroy())
    const between = new AbortController()
    const backingOff = assert.rejects(client.status({ signal: between.signal }), reason)
    await failed.promise
    between.abort(reason)
    await backingOff
  })
})

async function urlOf({ state }: FakeManager): Promise<string> {
  const { readEndpoint } = await import('../../src/client/endpoint.ts')
  return readEndpoint(state)?.url ?? ''
}
