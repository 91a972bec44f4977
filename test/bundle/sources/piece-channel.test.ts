import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { Pool } from 'undici'
import { bitmap } from '../../../src/bundle/format/bitmap.ts'
import { openPieceChannel } from '../../../src/bundle/sources/piece-channel.ts'
import { httpSource } from '../../../src/bundle/sources/http-source.ts'
import { haveRequest, piecesRequest } from '../../../src/bundle/sources/piece-request-codec.ts'
import { pieceLayoutOf } from '../../../src/bundle/format/piece-layout.ts'
import { createBufferPool } from '../../../src/bundle/store/buffer-pool.ts'
import type { PieceRequestOptions } from '../../../src/bundle/sources/piece-source.ts'
import { PIECE_MIN } from '../../../src/protocol/bundle.ts'
import { frame, frameReader, wholeBody } from '../../../src/protocol/channels/frames.ts'
import { FrameKind } from '../../../src/protocol/channels/piece-frames.ts'
import type { FaultReason } from '../../../src/protocol/piece-sources.ts'
import { listen } from '../../support/listen.ts'
import { until } from '../../support/until.ts'
import { startSource } from '../support/scripted-source.ts'
import { sourceOf } from '../support/cluster.ts'

const BUNDLE = 'b'.repeat(64)
const HASHES = ['0', '1', '2'].map((digit) => digit.repeat(64))
/** Three pieces, of which the last is short. */
const layout = pieceLayoutOf({
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
    'the same again and again': [
      lie(
        frame(FrameKind.HELD, 3, 1, Buffer.from([1])),
        ...[0, 0, 0, 0].map((piece) => frame(FrameKind.NEWS, 0, 4, numbers(piece))),
      ),
      'protocol',
    ],
    'empty news': [
      lie(frame(FrameKind.HELD, 3, 1, Buffer.from([1])), frame(FrameKind.NEWS, 0, 0)),
      'protocol',
    ],
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
        source.follow(layout, () => {}, AbortSignal.timeout(180_000)),
        { reason },
      )
      await source.close()
    })
  }

  const options = (signal: AbortSignal): PieceRequestOptions => ({
    layout,
    signal,
    buffers: createBufferPool(),
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
      const take = () => source.take({ first: 0, count: 1 }, options(AbortSignal.timeout(180_000)))
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
    const take = source.take({ want, bytes: 1 << 20 }, options(AbortSignal.timeout(180_000)))
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
    const take = () => source.take({ first: 2, count: 1 }, options(AbortSignal.timeout(180_000)))
    await assert.rejects(take, { reason: 'reset' })
    assert.equal(await take(), 'done')
    await source.close()
  })

  /** Channels that wait only 300 ms for what is due. */
  async function startImpatient(onAsked: Parameters<typeof startSource>[0]) {
    const server = await startSource(onAsked)
    const pool = new Pool(server.url)
    const open = () =>
      openPieceChannel(pool, { path: `/v1/pieces/${BUNDLE}` }, AbortSignal.timeout(180_000), 300)
    const close = async () => {
      await pool.destroy()
      await server[Symbol.asyncDispose]()
    }
    return { open, [Symbol.asyncDispose]: close }
  }

  test('waits for an answer only so long, but for news as long as it likes', async () => {
    let follows = 0
    await using source = await startImpatient((_kind, _first, _second, socket) => {
      if (follows++ === 0) socket.write(frame(FrameKind.HELD, 3, 1, Buffer.from([1])))
    })
    const [patient, silent] = [await source.open(), await source.open()]
    const enough = new AbortController()
    const held = Promise.withResolvers<void>()
    const waiting = patient.request(haveRequest(3, () => held.resolve(), enough.signal))
    await held.promise
    const never = new AbortController().signal
    await assert.rejects(silent.request(haveRequest(3, () => {}, never)), { reason: 'stalled' })
    assert.equal(silent.isOpen(), false)
    assert.equal(patient.isOpen(), true)
    assert.equal(patient.isIdle(), false)
    enough.abort(new Error('enough'))
    await assert.rejects(waiting, /enough/)
    assert.equal(patient.isOpen(), false)
    await assert.rejects(patient.request(haveRequest(3, () => {}, never)), { reason: 'reset' })
  })

  test('closes a channel that it does not use', async () => {
    await using source = await startImpatient((_kind, _first, _second, socket) =>
      socket.write(frame(FrameKind.BUSY)),
    )
    const channel = await source.open()
    const { signal } = new AbortController()
    const outcomes: string[] = []
    const take = () =>
      channel.request(piecesRequest({ first: 0, count: 1 }, options(signal), (came) => outcomes.push(came)))
    for (let again = 0; again < 100; again++) {
      await take()
      await sleep(1)
    }
    assert.equal(channel.isIdle(), true)
    await until(() => !channel.isOpen())
    assert.deepEqual(new Set(outcomes), new Set(['busy']))
  })

  test('does not blame a source for its own slow disk', async () => {
    await using source = await startImpatient((_kind, first, count, socket) => {
      socket.write(frame(FrameKind.RUN, first, count))
      socket.write(Buffer.alloc(2 * PIECE_MIN + 1))
    })
    const channel = await source.open()
    let stored = 0
    const onPiece = async () => {
      await sleep(600)
      stored++
    }
    const { signal } = new AbortController()
    const take = { ...options(signal), onPiece }
    await channel.request(piecesRequest({ first: 0, count: 3 }, take, () => {}))
    assert.equal(stored, 3)
  })

  test('takes in what has come in full, also when the source is gone by then', async () => {
    await using source = await startImpatient((_kind, first, count, socket) => {
      socket.write(frame(FrameKind.RUN, first, count))
      socket.end(Buffer.alloc(2 * PIECE_MIN + 1))
    })
    const channel = await source.open()
    const stored = Promise.withResolvers<void>()
    const { signal } = new AbortController()
    const take = { ...options(signal), onPiece: () => stored.promise }
    const taking = channel.request(piecesRequest({ first: 0, count: 3 }, take, () => {}))
    await until(() => !channel.isOpen())
    stored.resolve()
    await taking
  })

  test('holds an answer back while its pieces cannot be stored, and takes the rest then', async () => {
    const pieces = 200
    const file = { path: 'a', size: pieces * PIECE_MIN, executable: false, pieceSize: PIECE_MIN }
    const hashes = Array.from({ length: pieces }, () => '0'.repeat(64))
    const large = pieceLayoutOf({ version: 1, kind: 'files', files: [{ ...file, pieces: hashes }] })
    await using source = await startImpatient((_kind, first, count, socket) => {
      socket.write(frame(FrameKind.RUN, first, count))
      socket.write(Buffer.alloc(count * PIECE_MIN))
    })
    const channel = await source.open()
    const released = Promise.withResolvers<void>()
    const [begun, ended] = [new Set<number>(), new Set<number>()]
    const onPiece = async (piece: number) => {
      begun.add(piece)
      await released.promise
      ended.add(piece)
    }
    const { signal } = new AbortController()
    const take = { ...options(signal), layout: large, onPiece }
    const taking = channel.request(piecesRequest({ first: 0, count: pieces }, take, () => {}))
    await until(() => begun.size >= 4)
    // Longer than it waits for a source that may send.
    await sleep(600)
    assert.ok(begun.size < pieces, `${begun.size} pieces came all the same`)
    released.resolve()
    await taking
    assert.equal(ended.size, pieces)
  })

  test('asks over a new channel when the one it has was closed, or its ticket has become too old', async () => {
    const ends: ((socket: Duplex) => void)[] = [
      (socket) => socket.write(frame(FrameKind.REFUSED, 0, 3, Buffer.from('old'))),
      (socket) => socket.end(),
      (socket) => (socket as Socket).resetAndDestroy(),
    ]
    for (const end of ends) {
      let asked = 0
      await using server = await startSource((_kind, _first, _second, socket) => {
        if (++asked !== 2) return socket.write(frame(FrameKind.BUSY))
        return end(socket)
      })
      const source = httpSource(BUNDLE, sourceOf('n', server, BUNDLE))
      const take = () => source.take({ first: 0, count: 1 }, options(AbortSignal.timeout(180_000)))
      assert.equal(await take(), 'busy')
      assert.equal(await take(), 'busy')
      assert.equal(asked, 3)
      await source.close()
    }
  })

  test('is told why no channel is opened, and does not wait for the end of it', async () => {
    const refuses = createServer((socket) =>
      socket.write('HTTP/1.1 403 Forbidden\r\ncontent-length: 1000\r\n\r\nno ticket'),
    )
    await using server = await listen(refuses)
    const source = httpSource(BUNDLE, sourceOf('n', server, BUNDLE))
    const take = source.take({ first: 0, count: 1 }, options(AbortSignal.timeout(180_000)))
    await assert.rejects(take, { reason: 'refused', message: /403: no ticket/ })
    await source.close()
  })
})
