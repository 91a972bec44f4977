import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { AddTasksResponse, JobInfo, ResultsResponse } from '../../src/protocol/client.ts'
import { limits } from '../../src/protocol/common.ts'
import { isDeeperThan } from '../../src/protocol/json-depth.ts'
import { ask, CONTEXT, HttpWorker, managerForEachTest, registration, startOn } from '../support/manager.ts'

const here = managerForEachTest()

const user = <T = { error: { message: string } }>(path: string, body?: unknown) =>
  ask<T>(here.manager.url, here.manager.token, path, body)

const makeJob = async () => (await user<JobInfo>('/v1/jobs', { name: 'job', context: 'ctx' })).body.id

function open(): Socket {
  return connect(Number(new URL(here.manager.url).port), '127.0.0.1')
}

const nested = (depth: number) => JSON.parse('['.repeat(depth) + ']'.repeat(depth)) as unknown

describe('nesting', () => {
  test('is what it is, whatever is in strings', () => {
    const depthOf = (value: unknown): number =>
      typeof value === 'object' && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depthOf)) : 0
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
        const json = Buffer.from(JSON.stringify(value))
        const depth = depthOf(value)
        return !isDeeperThan(depth, json) && (depth === 0 || isDeeperThan(depth - 1, json))
      }),
    )
  })

  test('that is deep is carried through, and refused beyond the limit', async () => {
    const job = await makeJob()
    const add = (depth: number) =>
      user(`/v1/jobs/${job}/tasks`, { tasks: [{ key: `${depth}`, input: nested(depth) }] })
    assert.equal((await add(limits.depth)).status, 200)
    const refused = await add(limits.depth + 10)
    assert.equal(refused.status, 400)
    assert.match(refused.body.error.message, /nested too deep/)
    const worker = await HttpWorker.register(here.manager)
    assert.equal(await worker.workUntilIdle(), 1)
    const { body } = await user<ResultsResponse>(`/v1/jobs/${job}/results`)
    assert.deepEqual(body.results[0]?.value, nested(limits.depth))
    await worker.die()
  })
})

test('a key named __proto__ is data like any other', async () => {
  const job = await makeJob()
  const body = '{"tasks":[{"key":"a","input":{"__proto__":{"polluted":true}}}]}'
  assert.equal((await user(`/v1/jobs/${job}/tasks`, JSON.parse(body))).status, 200)
  const worker = await HttpWorker.register(here.manager)
  await worker.workUntilIdle()
  const { results } = (await user<ResultsResponse>(`/v1/jobs/${job}/results`)).body
  assert.equal(JSON.stringify(results[0]?.value), '{"__proto__":{"polluted":true}}')
  assert.equal(({} as { polluted?: boolean }).polluted, undefined)
  await worker.die()
})

describe('size', () => {
  test('of one task’s input is bounded, and the refusal names the task', async () => {
    const job = await makeJob()
    const { status, body } = await user(`/v1/jobs/${job}/tasks`, {
      tasks: [
        { key: 'small', input: 1 },
        { key: 'large', input: 'x'.repeat(limits.value) },
      ],
    })
    assert.equal(status, 400)
    assert.match(body.error.message, /input of task large is longer than/)
    assert.equal((await user<JobInfo>(`/v1/jobs/${job}`)).body.tasks, 0)
  })

  test('of an answer to a worker is bounded: it gets the rest of the tasks next time', async () => {
    const job = await makeJob()
    const input = 'x'.repeat(3 << 20)
    const add = (key: string) => user<AddTasksResponse>(`/v1/jobs/${job}/tasks`, { tasks: [{ key, input }] })
    for (const key of ['a', 'b', 'c', 'd', 'e']) assert.equal((await add(key)).body.added, 1)
    const worker = await HttpWorker.register(here.manager)
    const { leases } = (await worker.exchange({ room: 5 })).body
    assert.equal(leases.flatMap(({ tasks }) => tasks).length, 2)
    assert.deepEqual(here.manager.registry.demand(), { queued: 3, leased: 2, ratePerPilot: 10 })
    await worker.exchange({ leases: [] })
    assert.equal(await worker.workUntilIdle(5), 5)
    await worker.die()

    const pages: number[] = []
    for (let after = 0, rows = 0; rows < 5;) {
      const { results } = (await user<ResultsResponse>(`/v1/jobs/${job}/results?after=${after}`)).body
      pages.push(results.length)
      after = results.at(-1)!.cursor
      rows += results.length
    }
    assert.deepEqual(pages, [5])
  })

  test('of a page of results is bounded, and the next page goes on behind it', async () => {
    const job = await makeJob()
    const tasks = Array.from({ length: 5 }, (_, i) => ({ key: `${i}`, input: i }))
    await user(`/v1/jobs/${job}/tasks`, { tasks })
    const worker = await HttpWorker.register(here.manager)
    const { lease, tasks: leased } = (await worker.exchange({ room: 5 })).body.leases[0]!
    for (const { task } of leased) {
      const outcome = { status: 'done' as const, value: 'y'.repeat(7 << 20) }
      await worker.exchange({ leases: [lease], results: [{ task, lease, outcome, ms: 1 }] })
    }
    const pages: number[] = []
    for (let after = 0, rows = 0; rows < 5;) {
      const { results } = (await user<ResultsResponse>(`/v1/jobs/${job}/results?after=${after}`)).body
      pages.push(results.length)
      after = results.at(-1)!.cursor
      rows += results.length
    }
    assert.deepEqual(pages, [2, 2, 1])
    await worker.die()
  })

  test('of a body is bounded by what its route needs', async () => {
    const worker = await HttpWorker.register(here.manager)
    const { token } = here.manager.registry.create('test', 1)[0]!
    const padding = 'x'.repeat(2 << 20)
    assert.equal(
      (await ask(here.manager.url, token, '/v1/workers', { ...registration(), padding })).status,
      413,
    )
    const sources = `/v1/workers/${worker.id}/sources`
    assert.equal((await ask(here.manager.url, worker.session, sources, { padding })).status, 413)
    assert.equal((await user('/v1/jobs', { name: 'x', context: 'ctx', padding })).status, 413)
    await worker.die()
  })
})

describe('a stranger', () => {
  test('is turned away before the body, and the connection is closed', async () => {
    for (const path of ['/v1/workers', '/v1/workers/w1/exchange', '/v1/jobs', '/v1/nowhere']) {
      const socket = open()
      socket.write(
        `POST ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer w1.${'A'.repeat(43)}\r\n` +
          `content-type: application/json\r\ncontent-length: 1000000\r\n\r\n{"half":`,
      )
      assert.match(await text(socket), /^HTTP\/1\.1 4(01|04|10) /)
    }
  })

  test('who sends slowly is cut off', async () => {
    const socket = open()
    await once(socket, 'connect')
    const startedAt = performance.now()
    const dribble = setInterval(() => socket.write('x'), 200)
    socket.write('GET /v1/status HTTP/1.1\r\nx-slow: ')
    assert.match(await text(socket), /^HTTP\/1\.1 408 /)
    clearInterval(dribble)
    assert.ok(performance.now() - startedAt < 20_000)
  })
})

describe('a worker', () => {
  test('with a clock of its own making does not keep the manager from starting again', async () => {
    for (const [clock, deadline] of [
      [Number.MAX_SAFE_INTEGER, 0],
      [0, Number.MAX_SAFE_INTEGER],
    ] as const) {
      const { token } = here.manager.registry.create('test', 1)[0]!
      await HttpWorker.join(here.manager.url, token, { ...registration(), clock, deadline })
    }
    await here.manager.close()
    here.manager = await startOn(here.folder)
  })

  test('cannot make the manager remember contexts and bundles that nobody registered', async () => {
    const worker = await HttpWorker.register(here.manager)
    const contexts = ['a', 'b'].map((id) => ({
      context: id.repeat(64),
      level: 'memory' as const,
      attempts: 1,
    }))
    await worker.exchange({ contexts: [...contexts, { context: CONTEXT.id, level: 'memory', attempts: 1 }] })
    const { contexts: known } = (await user<{ contexts: { id: string }[] }>('/v1/status')).body
    assert.deepEqual(
      known.map(({ id }) => id),
      [CONTEXT.id],
    )
    const request = { bundle: 'a'.repeat(64), faults: [] }
    const sources = await ask(here.manager.url, worker.session, `/v1/workers/${worker.id}/sources`, request)
    assert.equal(sources.status, 404)
    await worker.die()
  })
})
