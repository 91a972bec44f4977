import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import path from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { request } from 'undici'
import { createBundle } from '../../../src/bundle/create/create-bundle.ts'
import { PIECE_MIN } from '../../../src/protocol/bundle.ts'
import { frame } from '../../../src/protocol/channels/frames.ts'
import { CHANNEL, FrameKind, RUN_MAX } from '../../../src/protocol/channels/piece-frames.ts'
import { until } from '../../support/until.ts'
import { nextFrame, openByHand } from '../support/scripted-source.ts'
import { startNode, temporaryFolder, ticketFor, writeTree } from '../support/cluster.ts'

const BUNDLE = 'b'.repeat(64)
const u32 = fc.nat(0xffffffff)

/** A node with a bundle of three pieces, its ticket good as long as it says so. */
async function startGiver(folder: string) {
  await writeTree(path.join(folder, 'source'), { a: 2 * PIECE_MIN + 1 })
  const node = await startNode(path.join(folder, 'node'))
  const { id } = await createBundle({
    store: node.store,
    paths: [path.join(folder, 'source')],
    kind: 'files',
  })
  return { ...node, id }
}

describe('a source', () => {
  test('gives what is asked for, and says why it does not', async () => {
    await using temporary = await temporaryFolder()
    await using node = await startGiver(temporary.folder)
    using opened = await openByHand(node.url, node.id, ticketFor(node.id))
    assert.equal(opened.status, 101)
    const ask = async (asked: Buffer) => {
      opened.socket.write(asked)
      return await nextFrame(opened.socket)
    }
    const held = await ask(frame(FrameKind.FOLLOW))
    assert.deepEqual([held.kind, held.first], [FrameKind.HELD, 3])
    assert.deepEqual([...held.body], [0b111])
    for (const [first, count] of [
      [0, 4],
      [3, 1],
      [0, 0],
      [0xffffffff, 0xffffffff],
    ]) {
      const { kind, body } = await ask(frame(FrameKind.RUN, first, count))
      assert.equal(kind, FrameKind.REFUSED)
      assert.match(body.toString(), /no such pieces/)
    }
    const { kind, body } = await ask(frame(FrameKind.ANY, 1000, 1, Buffer.from([0b1000])))
    assert.equal(kind, FrameKind.REFUSED)
    assert.match(body.toString(), /no bitmap/)
  })

  test('answers also who asks again as soon as the bytes are there', async () => {
    await using temporary = await temporaryFolder()
    await using node = await startGiver(temporary.folder)
    using opened = await openByHand(node.url, node.id, ticketFor(node.id))
    opened.socket.write(Buffer.concat([frame(FrameKind.RUN, 0, 1), frame(FrameKind.RUN, 2, 1)]))
    const expected = 2 * frame(0).length + PIECE_MIN + 1
    let bytes = 0
    opened.socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes === expected) opened.socket.destroy()
    })
    await once(opened.socket, 'close')
    assert.equal(bytes, expected)
  })

  test('has only so many answers in memory, and is busy for those who ask for more', async () => {
    await using temporary = await temporaryFolder()
    const folder = (name: string) => path.join(temporary.folder, name)
    await writeTree(folder('source'), { a: PIECE_MIN })
    const held = Promise.withResolvers<void>()
    let reads = 0
    const hold = async (data: Buffer) => {
      reads++
      await held.promise
      return data
    }
    await using node = await startNode(folder('node'), hold, 2)
    const { id } = await createBundle({ store: node.store, paths: [folder('source')], kind: 'files' })
    const ask = async () => {
      const opened = await openByHand(node.url, id, ticketFor(id))
      opened.socket.write(frame(FrameKind.RUN, 0, 1))
      return opened
    }
    using first = await ask()
    using second = await ask()
    await until(() => reads === 2)
    using third = await ask()
    assert.equal((await nextFrame(third.socket)).kind, FrameKind.BUSY)
    held.resolve()
    for (const { socket } of [first, second]) assert.equal((await nextFrame(socket)).kind, FrameKind.RUN)
    await until(async () => {
      using fourth = await ask()
      return (await nextFrame(fourth.socket)).kind === FrameKind.RUN
    })
  })

  test('tells who asks over HTTP how pieces are to be had, and leaves other protocols alone', async () => {
    await using temporary = await temporaryFolder()
    await using node = await startGiver(temporary.folder)
    const headers = { authorization: `Bearer ${ticketFor(node.id)}` }
    const plain = await request(`${node.url}/v1/pieces/${node.id}`, { headers })
    assert.equal(plain.statusCode, 426)
    assert.match(await plain.body.text(), /gleaner-pieces/)
    const others = { ...headers, connection: 'upgrade, http2-settings', upgrade: 'h2c', 'http2-settings': '' }
    const { hostname, port } = new URL(node.url)
    const lines = Object.entries({ host: hostname, ...others }).map(
      ([name, value]) => `${name}: ${value}\r\n`,
    )
    const socket = connect(Number(port), hostname)
    socket.write(`GET /v1/pieces/${node.id}/manifest HTTP/1.1\r\n${lines.join('')}\r\n`)
    const [answer] = (await once(socket, 'data')) as [Buffer]
    socket.destroy()
    assert.match(answer.toString(), /^HTTP\/1\.1 200 /)
  })

  test('opens no channel without a ticket for the bundle', async () => {
    await using temporary = await temporaryFolder()
    await using node = await startGiver(temporary.folder)
    for (const [bundle, ticket, status] of [
      [node.id, ticketFor(BUNDLE), 403],
      [node.id, 'x', 403],
      [BUNDLE, ticketFor(node.id), 403],
      [`${node.id}0`, ticketFor(node.id), 404],
    ] as const) {
      using opened = await openByHand(node.url, bundle, ticket)
      assert.equal(opened.status, status)
      assert.ok((JSON.parse(opened.body) as { error?: unknown }).error)
    }
  })

  test('says to HEAD whether a ticket is good, also for what is not here, and without a turn', async () => {
    await using temporary = await temporaryFolder()
    await using node = await startGiver(temporary.folder)
    const ask = async (bundle: string, ticket: string) => {
      const headers = { authorization: `Bearer ${ticket}` }
      const url = `${node.url}/v1/pieces/${bundle}/manifest`
      const { statusCode, body } = await request(url, { method: 'HEAD', headers })
      assert.equal(await body.text(), '')
      return statusCode
    }
    assert.equal(await ask(node.id, ticketFor(node.id)), 200)
    assert.equal(await ask(BUNDLE, ticketFor(BUNDLE)), 200)
    assert.equal(await ask(BUNDLE, ticketFor(node.id)), 403)
    assert.equal(await ask(node.id, 'x'), 403)
  })

  test('gives nothing more over an open channel once the ticket has run out', async (t) => {
    await using temporary = await temporaryFolder()
    await using node = await startGiver(temporary.folder)
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 120_000 })
    using opened = await openByHand(node.url, node.id, ticketFor(node.id, Date.now() + 30_000))
    opened.socket.write(frame(FrameKind.FOLLOW))
    assert.equal((await nextFrame(opened.socket)).kind, FrameKind.HELD)
    t.mock.timers.tick(120_000)
    opened.socket.write(frame(FrameKind.RUN, 0, 1))
    const { kind, body } = await nextFrame(opened.socket)
    assert.equal(kind, FrameKind.REFUSED)
    assert.match(body.toString(), /not good any more/)
  })

  test('closes with all its channels, also those that it turned away and that stay open at the other end', async () => {
    await using temporary = await temporaryFolder()
    await using node = await startGiver(temporary.folder)
    const { hostname, port } = new URL(node.url)
    const sockets = ['Bearer x', `Bearer ${ticketFor(node.id)}`].map((authorization) => {
      const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true })
      const head = `connection: upgrade\r\nupgrade: ${CHANNEL}\r\nauthorization: ${authorization}`
      socket.write(`GET /v1/pieces/${node.id} HTTP/1.1\r\nhost: node\r\n${head}\r\n\r\n`)
      socket.on('error', () => {})
      return socket
    })
    await Promise.all(sockets.map((socket) => once(socket, 'data')))
    await node.server.close()
    for (const socket of sockets) socket.destroy()
  })

  test('cuts off a worker that takes nothing of its answer, and no other', async () => {
    await using temporary = await temporaryFolder()
    const folder = (name: string) => path.join(temporary.folder, name)
    await writeTree(folder('source'), { a: 2 * RUN_MAX })
    await using node = await startNode(folder('node'))
    const { id, manifest } = await createBundle({
      store: node.store,
      paths: [folder('source')],
      kind: 'files',
    })
    const most = RUN_MAX / manifest.files[0]!.pieceSize
    using stopped = await openByHand(node.url, id, ticketFor(id))
    using idle = await openByHand(node.url, id, ticketFor(id))
    const connections = promisify(node.server.server.getConnections.bind(node.server.server))
    for (const first of [0, most]) stopped.socket.write(frame(FrameKind.RUN, first, most))
    await until(async () => (await connections()) === 1)
    idle.socket.write(frame(FrameKind.FOLLOW))
    assert.equal((await nextFrame(idle.socket)).kind, FrameKind.HELD)
  })

  test('forgets a worker that is gone, whatever it had asked', async () => {
    await using temporary = await temporaryFolder()
    const folder = (name: string) => path.join(temporary.folder, name)
    await writeTree(folder('source'), { a: 2 * PIECE_MIN + 1 })
    const held = Promise.withResolvers<void>()
    const reads = { begun: 0, ended: 0 }
    await using node = await startNode(folder('node'), async (data) => {
      reads.begun++
      await held.promise
      reads.ended++
      return data
    })
    const { store } = node
    await using origin = await startNode(folder('origin'))
    const bundle = { paths: [folder('source')], kind: 'files' as const }
    const { id, manifest } = await createBundle({ ...bundle, store: origin.store })
    const claim = await store.claimFetch(id)
    const pieces = await store.begin(id, manifest)
    let watched = 0
    const watch = pieces.watch.bind(pieces)
    pieces.watch = (listener) => {
      watched++
      const stop = watch(listener)
      return () => {
        watched--
        stop()
      }
    }
    const data = await (await origin.store.pieces(id))!.read(0, 1)
    await pieces.add(0, data)
    const opened = await openByHand(node.url, id, ticketFor(id))
    opened.socket.write(Buffer.concat([frame(FrameKind.RUN, 0, 1), frame(FrameKind.FOLLOW)]))
    await until(() => reads.begun === 1)
    opened[Symbol.dispose]()
    const connections = promisify(node.server.server.getConnections.bind(node.server.server))
    await until(async () => (await connections()) === 0)
    held.resolve()
    await until(() => reads.ended === 1)
    // Whoever follows it is told; and when nobody does any more, there is nobody to tell.
    using other = await openByHand(node.url, id, ticketFor(id))
    other.socket.write(frame(FrameKind.FOLLOW))
    assert.equal((await nextFrame(other.socket)).kind, FrameKind.HELD)
    assert.equal(watched, 1)
    other.socket.destroy()
    await until(() => watched === 0)
    await store.end(pieces)
    await claim!.release()
  })

  test('closes a channel over which it is sent what no worker sends, and goes on', async () => {
    await using temporary = await temporaryFolder()
    await using node = await startGiver(temporary.folder)
    const kinds = fc.oneof(fc.constantFrom(0, 4, 5, 6, 7, 8, 9), u32)
    const noise = fc.oneof(
      kinds.filter((kind) => kind < 1 || kind > 3).map((kind) => frame(kind, 1, 2)),
      fc.integer({ min: (1 << 20) + 1, max: 0xffffffff }).map((length) => frame(FrameKind.ANY, 1, length)),
      fc.constant(Buffer.concat([0, 0, 0].map((first) => frame(FrameKind.RUN, first, 2)))),
    )
    await fc.assert(
      fc.asyncProperty(noise, async (bytes) => {
        using opened = await openByHand(node.url, node.id, ticketFor(node.id))
        opened.socket.resume()
        opened.socket.write(bytes)
        await once(opened.socket, 'close')
      }),
      { numRuns: 40 },
    )
    using opened = await openByHand(node.url, node.id, ticketFor(node.id))
    opened.socket.write(frame(FrameKind.FOLLOW))
    assert.equal((await nextFrame(opened.socket)).kind, FrameKind.HELD)
  })
})
