import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { AddTasksResponse, JobInfo, ResultsResponse } from '../../src/protocol/client.ts'
import { type ApiErrorBody, limits } from '../../src/protocol/primitives.ts'
import { isDeeperThan } from '../../src/protocol/json/json-depth.ts'
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
    const refused = await add(limits.depth + 1)
    assert.equal(refused.status, 400)
    assert.match(refused.body.error.message, /tasks\.0\.input nests arrays and objects more than 500 deep/)
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
  test('of one task’s input is bounded, and the refusal says which', async () => {
    const job = await makeJob()
    const { status, body } = await user(`/v1/jobs/${job}/tasks`, {
      tasks: [
        { key: 'small', input: 1 },
        { key: 'large', input: 'x'.repeat(limits.value) },
      ],
    })
    assert.equal(status, 400)
    assert.match(body.error.message, /tasks\.1\.input is longer than 8388608 bytes/)
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

describe('what a body costs', () => {
  /** Sends so many bytes of a request that adds this body of tasks, and gives its connection. */
  function begin(job: number, token: string, body: string, bytes = body.length): Socket {
    const socket = open()
    socket.write(
      `POST /v1/jobs/${job}/tasks HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer ${token}\r\n` +
        `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`,
    )
    socket.write(body.slice(0, bytes))
    return socket
  }

  test('is bounded by the number of values in it, before any is made', async () => {
    const job = await makeJob()
    const refused = await text(begin(job, here.manager.token, `{"tasks":[${'[],'.repeat(400_000)}[]]}`))
    assert.match(refused, /^HTTP\/1\.1 400 [^]*more than 320000 values: send it in parts/)
  })

  test('does not grow with the number of values in one input, which goes through as it came', async () => {
    const job = await makeJob()
    const input = `[${'[],'.repeat(1_000_000)}12345678901234567890]`
    const added = await text(begin(job, here.manager.token, `{"tasks":[{"key":"a","input":${input}}]}`))
    assert.match(added, /^HTTP\/1\.1 200 [^]*"added":1/)
    const worker = await HttpWorker.register(here.manager)
    const { lease, tasks } = (await worker.exchange({ room: 1 })).body.leases[0]!
    assert.equal((tasks[0]!.input as unknown[]).length, 1_000_001)
    const results = `[{"task":${tasks[0]!.task},"lease":${lease},"ms":1,"outcome":{"status":"done","value":${input}}}]`
    await worker.exchangeText(`"results":${results}`)
    const headers = { authorization: `Bearer ${here.manager.token}` }
    const page = await fetch(`${here.manager.url}/v1/jobs/${job}/results`, { headers })
    assert.ok((await page.text()).includes(`"value":${input}`))
    await worker.die()
  })

  test('is that of one large body at a time for each client: the next waits until the first has come', async () => {
    const job = await makeJob()
    const large = (key: string) => `{"tasks":[{"key":"${key}","input":"${'x'.repeat(2 << 20)}"}]}`
    const { token } = here.manager
    const first = begin(job, token, large('first'), 1000)
    // What is asked next is answered after the head of the first was read.
    await user('/v1/status')
    const answered: string[] = []
    const second = text(begin(job, token, large('second'))).finally(() => answered.push('second'))
    const worker = await HttpWorker.register(here.manager)
    const value = 'y'.repeat(2 << 20)
    const results = [{ task: 1, lease: 1, ms: 1, outcome: { status: 'done' as const, value } }]
    for (let i = 0; i < 5; i++) assert.equal((await worker.exchange({ results })).status, 200)
    assert.deepEqual(answered, [])
    first.write(large('first').slice(1000))
    assert.match(await text(first), /^HTTP\/1\.1 200 /)
    assert.match(await second, /^HTTP\/1\.1 200 /)
    assert.equal((await user<JobInfo>(`/v1/jobs/${job}`)).body.tasks, 2)
    await worker.die()
  })

  test('is not kept from others by a client that goes away while its large body comes', async () => {
    const job = await makeJob()
    const large = `{"tasks":[{"key":"a","input":"${'x'.repeat(2 << 20)}"}]}`
    const { token } = here.manager
    const gone = begin(job, token, large, 1000)
    await user('/v1/status')
    const waiting = begin(job, token, large)
    const next = text(begin(job, token, large))
    await user('/v1/status')
    waiting.destroy()
    gone.destroy()
    assert.match(await next, /^HTTP\/1\.1 200 /)
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

  test('keeps no connection open, whatever is asked for', async () => {
    for (const path of [
      '/v1/status',
      '/v1/nowhere',
      `/v1/pieces/${'a'.repeat(64)}/manifest`,
      `/v1/pieces/${'a'.repeat(64)}`,
    ]) {
      const socket = open()
      socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`)
      assert.match(await text(socket), /^HTTP\/1\.1 4(01|03|04) /)
    }
  })

  test('is told of a URL that is none, or too long, in the form of every error, and the connection is closed', async () => {
    for (const [path, status] of [
      ['/v1/%zz', 400],
      [`/v1/jobs/${'9'.repeat(1000)}`, 414],
    ] as const) {
      const socket = open()
      socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`)
      const answer = await text(socket)
      assert.ok(answer.startsWith(`HTTP/1.1 ${status} `), answer)
      const { error } = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n'))) as ApiErrorBody
      assert.equal(error.code, 'GLEANER_INVALID')
    }
  })

  test('who sends slowly is cut off', async () => {
    const socket = open()
    await once(socket, 'connect')
    const dribble = setInterval(() => socket.write('x'), 200)
    socket.write('GET /v1/status HTTP/1.1\r\nx-slow: ')
    assert.match(await text(socket), /^HTTP\/1\.1 408 /)
    clearInterval(dribble)
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

  test('cannot make the manager remember contexts and bundles that were not registered', async () => {
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
