import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import { pino } from 'pino'
import { generate } from 'selfsigned'
import { z } from 'zod'
import { createManagerClient, type ManagerClientOptions } from '../../../src/pilot/uplink/manager-client.ts'
import { PilotError } from '../../../src/pilot/exit-codes.ts'
import type { JsonRoute } from '../../../src/protocol/routes/route.ts'

const log = pino({ level: process.env['TEST_LOG'] ?? 'silent' })
const route = {
  method: 'POST',
  path: '/v1/x',
  access: 'user',
  body: z.object({ a: z.int() }),
  answer: z.object({ n: z.int() }),
} as const satisfies JsonRoute
const asked = { body: { a: 1 } }

async function serve(listener: RequestListener) {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    server,
    port,
    url: `http://127.0.0.1:${port}`,
    [Symbol.dispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}

function linkTo(url: string, options: Partial<ManagerClientOptions> = {}) {
  const client = createManagerClient({ origins: [url], patienceMs: 10_000, log, ...options })
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.close() })
}

const isError = (code: string, pattern?: RegExp) => (error: unknown) =>
  error instanceof PilotError && error.code === code && (pattern?.test(error.message) ?? true)

describe('the way to the manager', () => {
  test('sends the very same request again until it is answered', async () => {
    const seen: string[] = []
    using server = await serve((request, response) => void answer(request, response))
    const answer = async (request: IncomingMessage, response: ServerResponse) => {
      seen.push(`${request.headers.authorization} ${await text(request)}`)
      if (seen.length === 1) return void request.socket.destroy()
      if (seen.length === 2) return void response.writeHead(503).end()
      if (seen.length === 3) {
        response.writeHead(409)
        return void response.end('{"error":{"code":"conflict","message":"the manager is stopping"}}')
      }
      response.end('{"n":5}')
    }
    await using client = linkTo(server.url)
    client.authorise('secret')
    assert.deepEqual(await client.call(route, asked), { n: 5 })
    assert.deepEqual(seen, Array(4).fill('Bearer secret {"a":1}'))
  })

  test('tries the other addresses of the manager', async () => {
    using server = await serve((_request, response) => response.end('{"n":5}'))
    await using client = linkTo('', { origins: ['http://127.0.0.1:1', server.url] })
    assert.deepEqual(await client.call(route, asked), { n: 5 })
    assert.equal(client.origin, server.url)
  })

  test('gives up when its patience is at its end, and says what is wrong', async () => {
    await using client = linkTo('http://127.0.0.1:1', { patienceMs: 300 })
    await assert.rejects(
      client.call(route, asked),
      isError('GLEANER_PILOT_UNREACHABLE', /127\.0\.0\.1:1 .*ECONNREFUSED/),
    )
  })

  test('does not insist where it is refused', async () => {
    let requests = 0
    using server = await serve((_request, response) => {
      requests++
      response.writeHead(410).end('{"error":{"code":"revoked","message":"this session has ended"}}')
    })
    await using client = linkTo(server.url)
    await assert.rejects(
      client.call(route, asked),
      isError('GLEANER_PILOT_REFUSED', /this session has ended/),
    )
    assert.equal(requests, 1)
  })

  test('takes a conflict for an answer where it is one', async () => {
    using server = await serve((_request, response) => {
      response.writeHead(409).end('{"error":{"code":"conflict","message":"this pilot token is spent"}}')
    })
    await using client = linkTo(server.url)
    await assert.rejects(
      client.call(route, { ...asked, conflictIsFinal: true }),
      isError('GLEANER_PILOT_REFUSED', /token is spent/),
    )
  })

  test('does not go on with a manager that it does not understand', async () => {
    using server = await serve((_request, response) => response.end('{"m":5}'))
    await using client = linkTo(server.url)
    await assert.rejects(client.call(route, asked), isError('GLEANER_PROTOCOL', /n: /))
  })

  test('stops when it is told to, also between two tries', async () => {
    await using client = linkTo('http://127.0.0.1:1')
    const stop = new AbortController()
    const calling = client.call(route, { ...asked, signal: stop.signal })
    stop.abort(new Error('evicted'))
    await assert.rejects(calling, /evicted/)
  })

  test("trusts the manager's own certificate under any name, and no other", async () => {
    const mine = await certificate()
    const other = await certificate()
    const server = createTlsServer(mine, (_request, response) => response.end('{"n":5}')).listen(
      0,
      '127.0.0.1',
    )
    await once(server, 'listening')
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
    try {
      await using client = linkTo(url, { certificate: mine.cert })
      assert.deepEqual(await client.call(route, asked), { n: 5 })
      await using wrong = linkTo(url, { certificate: other.cert, patienceMs: 0 })
      await assert.rejects(wrong.call(route, asked), isError('GLEANER_PILOT_UNREACHABLE'))
      await using none = linkTo(url, { patienceMs: 0 })
      await assert.rejects(none.call(route, asked), isError('GLEANER_PILOT_UNREACHABLE'))
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })
})

/** A self-signed certificate for a name that nobody here uses. */
async function certificate(): Promise<{ key: string; cert: string }> {
  const { private: key, cert } = await generate([{ name: 'commonName', value: 'submit.example' }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
  })
  return { key, cert }
}
