import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import path from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { Pool, request } from 'undici'
import { createBundle } from '../../src/bundle/create.ts'
import { bitmap } from '../../src/bundle/bitmap.ts'
import { openChannel } from '../../src/bundle/channel.ts'
import { httpSource } from '../../src/bundle/http-source.ts'
import { layoutOf } from '../../src/bundle/layout.ts'
import type { TakeOptions } from '../../src/bundle/source.ts'
import { PIECE_MIN } from '../../src/protocol/bundle.ts'
import { FrameKind, frame, frameReader, wholeBody } from '../../src/protocol/channel.ts'
import type { FaultReason } from '../../src/protocol/sources.ts'
import { until } from '../support/until.ts'
import { nextFrame, openByHand, startSource } from './channels.ts'
import { sourceOf, startNode, temporaryFolder, ticketFor, writeTree } from './cluster.ts'

const BUNDLE = 'b'.repeat(64)
const HASHES = ['0', '1', '2'].map((digit) => digit.repeat(64))
/** Three pieces, of which the last is short. */
const layout = layoutOf({
  version: 1,
  kind: 'files',
  files: [{ path: 'a', size: 2 * PIECE_MIN + 1, executable: false, pieceSize: PIECE_MIN, pieces: HASHES }],
})

const u32 = fc.nat(0xffffffff)

describe('frames', () => {
  test('are read as they were written, however their bytes arrive', () => {
    const frames = fc.array(
      fc.record({ kind: u32, first: u32, body: fc.uint8Array({ maxLength: 40 }) }, { noNullPrototype: true }),
    )
    fc.assert(
      fc.property(frames, fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }), (sent, cuts) => {
        const bytes = Buffer.concat(
          sent.map(({ kind, first, body }) => frame(kind, first, body.length, body)),
        )
        const read: typeof sent = []
        const reader = frameReader((kind, first, second) =>
          wholeBody(second, (body) => read.push({ kind, first, body: Uint8Array.from(body) })),
        )
        for (let at = 0, turn = 0; at < bytes.length; turn++) {
          const end = at + cuts[turn % cuts.length]!
          reader.push(bytes.subarray(at, end))
          at = end
        }
        assert.deepEqual(read, sent)
      }),
    )
  })
})

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

  test('has only so many answers in memory, and is busy for whoever asks for more', async () => {
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

  test('gives nothing more over an open channel once the ticket has run out', async (t) => {
    await using temporary = await temporaryFolder()
    await using node = await startGiver(temporary.folder)
    using opened = await openByHand(node.url, node.id, ticketFor(node.id, Date.now() + 30_000))
    opened.socket.write(frame(FrameKind.RUN, 0, 1))
    const [head] = (await once(opened.socket, 'data')) as [Buffer]
    assert.equal(head.readUInt32LE(), FrameKind.RUN)
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 120_000 })
    using other = await openByHand(node.url, node.id, ticketFor(node.id, Date.now() + 30_000))
    t.mock.timers.tick(120_000)
    other.socket.write(frame(FrameKind.RUN, 0, 1))
    const { kind, body } = await nextFrame(other.socket)
    assert.equal(kind, FrameKind.REFUSED)
    assert.match(body.toString(), /not good any more/)
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

describe('a worker', () => {
  const lie = (...bytes: Buffer[]) => Buffer.concat(bytes)
  const all = frame(FrameKind.HELD, 3, 1, Buffer.from([0b111]))
  const numbers = (...pieces: number[]) => Buffer.from(Uint32Array.from(pieces).buffer)
  const told: Record<string, [answer: Buffer, reason: FaultReason]> = {
    'what is no answer': [frame(99), 'protocol'],
    'another bundle’s pieces': [frame(FrameKind.HELD, 4, 1, Buffer.from([0b1111])), 'protocol'],
    'a bitmap with pieces that do not exist': [
      frame(FrameKind.HELD, 3, 1, Buffer.from([0b11111])),
      'protocol',
    ],
    'news before the rest': [frame(FrameKind.NEWS, 0, 4, numbers(1)), 'protocol'],
    'news of pieces that do not exist': [
      lie(frame(FrameKind.HELD, 3, 1, Buffer.from([1])), frame(FrameKind.NEWS, 0, 4, numbers(3))),
      'protocol',
    ],
    'half a number': [
      lie(frame(FrameKind.HELD, 3, 1, Buffer.from([1])), frame(FrameKind.NEWS, 0, 3, Buffer.from([1, 2, 3]))),
      'protocol',
    ],
    'everything twice': [lie(frame(FrameKind.HELD, 3, 1, Buffer.from([1])), all), 'protocol'],
    'endless news': [
      lie(frame(FrameKind.HELD, 3, 1, Buffer.from([1])), frame(FrameKind.NEWS, 0, 1 << 30)),
      'protocol',
    ],
    'an endless refusal': [frame(FrameKind.REFUSED, 0, 1 << 30), 'protocol'],
    'a refusal': [frame(FrameKind.REFUSED, 0, 2, Buffer.from('no')), 'refused'],
  }
  for (const [what, [answer, reason]] of Object.entries(told)) {
    test(`that is told ${what} blames the source`, async () => {
      await using server = await startSource((_kind, _first, _second, socket) => socket.write(answer))
      const source = httpSource(BUNDLE, sourceOf('n', server, BUNDLE))
      await assert.rejects(
        source.follow(layout, () => {}, AbortSignal.timeout(5_000)),
        { reason },
      )
      await source.close()
    })
  }

  const options = (signal: AbortSignal): TakeOptions => ({
    layout,
    signal,
    onRun: () => {},
    onPiece: () => Promise.resolve(),
  })
  const given: Record<string, [answer: Buffer, reason: FaultReason]> = {
    'other pieces than it asked for': [frame(FrameKind.RUN, 1, 1), 'protocol'],
    'more pieces than it asked for': [frame(FrameKind.RUN, 0, 2), 'protocol'],
    'what is no answer': [frame(FrameKind.HELD, 3, 1, Buffer.from([1])), 'protocol'],
    'more than the answer': [
      lie(frame(FrameKind.RUN, 0, 1), Buffer.alloc(PIECE_MIN), frame(FrameKind.NONE), frame(FrameKind.NONE)),
      'protocol',
    ],
  }
  for (const [what, [answer, reason]] of Object.entries(given)) {
    test(`that is given ${what} blames the source`, async () => {
      await using server = await startSource((_kind, _first, _second, socket) => socket.write(answer))
      const source = httpSource(BUNDLE, sourceOf('n', server, BUNDLE))
      const take = () => source.take({ first: 0, count: 1 }, options(AbortSignal.timeout(5_000)))
      await assert.rejects(take().then(take), { reason })
      await source.close()
    })
  }

  test('that is offered pieces it does not want takes none', async () => {
    const any = frame(FrameKind.RUN, 1, 2)
    await using server = await startSource((_kind, _first, _second, socket) => socket.write(any))
    const source = httpSource(BUNDLE, sourceOf('manager', server, BUNDLE))
    const want = bitmap(3)
    want[0] = 0b011
    const take = source.take({ want, bytes: 1 << 20 }, options(AbortSignal.timeout(5_000)))
    await assert.rejects(take, { reason: 'protocol' })
    await source.close()
  })

  test('notices when a channel is closed midway, and opens another the next time', async () => {
    let asked = 0
    await using server = await startSource((_kind, _first, _second, socket) => {
      socket.write(frame(FrameKind.RUN, 2, 1))
      if (asked++ === 0) socket.end()
      else socket.write('x')
    })
    const source = httpSource(BUNDLE, sourceOf('n', server, BUNDLE))
    const take = () => source.take({ first: 2, count: 1 }, options(AbortSignal.timeout(5_000)))
    await assert.rejects(take, { reason: 'reset' })
    assert.equal(await take(), 'done')
    await source.close()
  })

  test('waits for an answer only so long, but for news as long as it likes', async () => {
    await using server = await startSource(() => {})
    const pool = new Pool(server.url)
    const open = () => openChannel(pool, { path: `/v1/pieces/${BUNDLE}` }, AbortSignal.timeout(5_000), 50)
    const asked = { frame: frame(FrameKind.FOLLOW), answer: () => wholeBody(0, () => {}) }
    const [patient, silent] = [await open(), await open()]
    const enough = new AbortController()
    const waiting = patient.request({ ...asked, signal: enough.signal, mayPause: true })
    const never = new AbortController()
    await assert.rejects(silent.request({ ...asked, signal: never.signal }), { reason: 'stalled' })
    assert.equal(silent.isOpen(), false)
    assert.equal(patient.isOpen(), true)
    assert.equal(patient.isIdle(), false)
    enough.abort(new Error('enough'))
    await assert.rejects(waiting, /enough/)
    assert.equal(patient.isOpen(), false)
    await pool.destroy()
  })
})
