import assert from 'node:assert/strict'
import { duplexPair } from 'node:stream'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { z } from 'zod'
import { JsonLinesError, openJsonLinesChannel, chunkTexts } from '../../src/common/json-lines-channel.ts'
import { LIBRARY_LINE_MAX } from '../../src/protocol/library.ts'
import { socketPair } from '../library/support/connected-pair.ts'

const Message = z.object({ text: z.string() })
type Message = z.infer<typeof Message>

function openPair() {
  const [left, right] = duplexPair()
  return { left, channel: openJsonLinesChannel<Message, Message>(right, Message) }
}

describe('a channel', () => {
  test('delivers what was sent, in order, whatever the characters', async () => {
    const [left, right] = duplexPair()
    const sender = openJsonLinesChannel<Message, Message>(left, Message)
    const receiver = openJsonLinesChannel<Message, Message>(right, Message)
    const sent = ['plain', 'new\nline', '\u2028 ü 語 🙂 \ud800', ''].map((text) => ({ text }))
    for (const message of sent) await sender.send(message)
    sender.close()
    assert.deepEqual(await Array.fromAsync(receiver.messages), sent)
  })

  test('puts lines together however the stream cut them', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: 'grapheme' }), { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 }),
        async (texts, cuts) => {
          const { left, channel } = openPair()
          const bytes = Buffer.from(texts.map((text) => JSON.stringify({ text }) + '\n').join(''))
          for (let at = 0, i = 0; at < bytes.length; i++) {
            const size = cuts[i % cuts.length] ?? 1
            left.write(bytes.subarray(at, at + size))
            at += size
          }
          left.end()
          assert.deepEqual(
            await Array.fromAsync(channel.messages),
            texts.map((text) => ({ text })),
          )
        },
      ),
      { numRuns: 50 },
    )
  })

  test('drops a line that its sender did not live to finish', async () => {
    const { left, channel } = openPair()
    left.end('{"text":"whole"}\n{"text":"ha')
    assert.deepEqual(await Array.fromAsync(channel.messages), [{ text: 'whole' }])
  })

  test('refuses a line that is not JSON, and one that fits no message', async () => {
    for (const line of ['nonsense', '{"text":1}', '[]', '']) {
      const { left, channel } = openPair()
      left.end(line + '\n')
      await assert.rejects(Array.fromAsync(channel.messages), JsonLinesError, line)
    }
  })

  test('refuses a line longer than the limit before it has arrived whole', async () => {
    const { left, channel } = openPair()
    const reading = assert.rejects(Array.fromAsync(channel.messages), /longer than/)
    const piece = Buffer.alloc(8 << 20, 'x')
    for (let sent = 0; sent <= LIBRARY_LINE_MAX; sent += piece.length) left.write(piece)
    await reading
  })

  test('ends, without an error, when the peer dies', async () => {
    const [left, right] = await socketPair()
    const channel = openJsonLinesChannel<Message, Message>(right, Message)
    left.write('{"text":"last words"}\n')
    const iterator = channel.messages[Symbol.asyncIterator]()
    assert.deepEqual((await iterator.next()).value, { text: 'last words' })
    left.resetAndDestroy()
    assert.equal((await iterator.next()).done, true)
    await channel.send({ text: 'to nobody' })
  })

  test('does not resolve a send that the peer has not made room for', async () => {
    const { left, channel } = openPair()
    let taken = 0
    const sends = Array.from({ length: 4 }, () =>
      channel.send({ text: 'x'.repeat(100_000) }).then(() => taken++),
    )
    await new Promise(setImmediate)
    assert.ok(taken < sends.length, 'nobody has read yet')
    left.resume()
    await Promise.all(sends)
  })
})

describe('stretches', () => {
  test('keep every text in order and within the limit', () => {
    fc.assert(
      fc.property(fc.array(fc.string()), fc.integer({ min: 1, max: 40 }), (texts, max) => {
        const cut = [...chunkTexts(texts, max)]
        assert.deepEqual(cut.flat(), texts)
        for (const stretch of cut) {
          assert.ok(stretch.length > 0)
          const bytes = stretch.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 0)
          assert.ok(bytes <= max || stretch.length === 1)
        }
      }),
    )
  })
})
