import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { describe, test } from 'node:test'
import { patched, type JsonObject } from '../../src/web/policy/merge-patch.ts'
import { Feed } from '../../src/web/server/feed.ts'
import { listen } from '../support/listen.ts'
import { until } from '../support/until.ts'

/** A server whose only answer is a feed of what `read` gives. */
async function serve(read: () => JsonObject, options: { tickMs?: number; stallMs?: number } = {}) {
  const welcome = { is: true }
  const responses: ServerResponse[] = []
  /** Most bytes that have waited for any reader. */
  const most = { waiting: 0 }
  const observed = () => {
    most.waiting = Math.max(most.waiting, ...responses.map(({ writableLength }) => writableLength))
    return read()
  }
  const feed = new Feed(observed, { tickMs: 10, ...options })
  const server = createServer((_request, response) => {
    responses.push(response)
    feed.join(response, false, () => welcome.is)
  })
  const listening = await listen(server)
  return {
    ...{ feed, welcome, most },
    port: Number(new URL(listening.url).port),
    async [Symbol.asyncDispose]() {
      feed.close()
      await listening[Symbol.asyncDispose]()
    },
  }
}

const get = async (port: number) => {
  const [response] = (await once(request({ port, agent: false }).end(), 'response')) as [IncomingMessage]
  return response.setEncoding('utf8')
}

/** What a reader makes of the events, as they come. */
async function* views(response: IncomingMessage): AsyncGenerator<JsonObject> {
  let text = ''
  let view: JsonObject = {}
  for await (const chunk of response as AsyncIterable<string>) {
    text += chunk
    if (!chunk.includes('\n')) continue
    const events = text.split('\n\n')
    text = events.pop()!
    for (const event of events) {
      const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(event)!
      const value = JSON.parse(data!) as JsonObject
      view = name === 'view' ? value : patched(view, value)
      yield view
    }
  }
}

describe('the feed', () => {
  test('tells each reader all there is, and then what changes', async () => {
    let n = 0
    await using here = await serve(() => ({ n: n++, workers: { w1: { node: 'n'.repeat(1000) } } }))
    let seen = 0
    for await (const view of views(await get(here.port))) {
      assert.equal((view.workers as { w1: { node: string } }).w1.node.length, 1000)
      if (++seen === 5) break
    }
  })

  test('reads nothing while there is no reader', async (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] })
    let reads = 0
    await using here = await serve(() => ({ n: reads++ }))
    const response = await get(here.port)
    await once(response, 'data')
    t.mock.timers.tick(100)
    const read = reads
    assert.equal(read, 11)
    response.destroy()
    await until(() => here.feed.readers === 0)
    t.mock.timers.tick(100)
    assert.equal(reads, read)
  })

  /** Asks for the feed and reads nothing of the answer. */
  const ignore = async (port: number) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {}).pause()
    await once(socket, 'connect')
    socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
    return { [Symbol.dispose]: () => void socket.destroy() }
  }

  test('keeps one event for a reader that does not read, however many there were', async () => {
    const much = 1 << 20
    let n = 0
    await using here = await serve(() => ({ text: String(n++).padEnd(much, 'x') }), { stallMs: 600_000 })
    using _reader = await ignore(here.port)
    await until(() => n > 20)
    assert.ok(here.most.waiting < 2 * much, `${here.most.waiting} bytes waited`)
  })

  test('cuts off a reader that does not read', async () => {
    let n = 0
    await using here = await serve(() => ({ text: String(n++).padEnd(1 << 20, 'x') }), { stallMs: 20 })
    using _reader = await ignore(here.port)
    await until(() => here.feed.readers === 1)
    await until(() => here.feed.readers === 0)
  })

  test('tells a reader that was slow all that has changed in between', async () => {
    const state: JsonObject = { first: 'x'.repeat(8 << 20) }
    let n = 0
    await using here = await serve(() => ({ ...state, [`key${n++ % 50}`]: n }), { stallMs: 60_000 })
    const response = await get(here.port)
    response.pause()
    const before = n
    await until(() => n > before + 60)
    delete state.first
    state.last = true
    for await (const view of views(response)) {
      if (view.last !== true) continue
      assert.ok(!('first' in view))
      break
    }
  })

  test('ends for those who are not welcome any more', async () => {
    await using here = await serve(() => ({}))
    const response = await get(here.port)
    response.resume()
    here.welcome.is = false
    await once(response, 'end')
    await until(() => here.feed.readers === 0)
  })

  test('refuses more readers than it serves', async () => {
    await using here = await serve(() => ({}))
    for (let i = 0; i < 64; i++) (await get(here.port)).resume()
    assert.throws(() => here.feed.join({} as never, false, () => true), /too many pages/)
  })
})
