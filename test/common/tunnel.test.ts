import assert from 'node:assert/strict'
import { once } from 'node:events'
import { PassThrough, Duplex, type Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import { readFirstLine } from '../../src/common/tunnel/first-line.ts'
import { openTunnel, serveTunnel } from '../../src/common/tunnel/tunnel.ts'

/** Two ends of one stream of bytes each way. */
function wire() {
  const [there, back] = [new PassThrough(), new PassThrough()]
  return [
    { readable: back, writable: there },
    { readable: there, writable: back },
  ] as const
}

/** A tunnel to what answers each connection with the length of what it got. */
async function tunnel() {
  const [near, far] = wire()
  const served = serveTunnel(far, (connection) => {
    let length = 0
    connection.on('data', (bytes: Buffer) => (length += bytes.length))
    connection.on('end', () => connection.end(String(length)))
  })
  return { ...(await openTunnel(near)), near, served }
}

describe('a tunnel', () => {
  test('carries many connections at once, each to its end, over one stream', async () => {
    const { dial, close, served } = await tunnel()
    const sizes = Array.from({ length: 200 }, (_, i) => i * 500)
    const answers = sizes.map((size) => {
      const connection = dial()
      connection.end(Buffer.alloc(size))
      return text(connection as Readable)
    })
    assert.deepEqual((await Promise.all(answers)).map(Number), sizes)
    close()
    await served
  })

  test('lets others pass a connection that is not read', async () => {
    const { dial, close } = await tunnel()
    const stuck = dial()
    stuck.write(Buffer.alloc(1 << 20))
    const other = dial()
    other.end('through')
    assert.equal(await text(other as Readable), '7')
    close()
  })

  test('breaks its connections with it, and those that are dialled later', async () => {
    const { dial, near, ended, served } = await tunnel()
    const connection = dial()
    connection.on('error', () => {})
    const closed = new Promise((resolve) => connection.once('close', resolve))
    near.readable.destroy()
    await Promise.all([closed, ended, served])
    const late = dial()
    const [error] = (await once(late, 'error')) as [Error]
    assert.equal(error.message, 'the tunnel has ended')
  })

  test('ends when the other side has, which takes no more while something is still said', async () => {
    const [near, far] = wire()
    /** What is still on its way when the other side has ended never gets there. */
    const stuck = new Duplex({
      read() {},
      write: (chunk, encoding, done) => void near.writable.write(chunk, encoding, done),
      final() {},
    })
    near.readable.on('data', (bytes) => stuck.push(bytes)).on('end', () => stuck.push(null))
    const talks: NodeJS.Timeout[] = []
    const served = serveTunnel({ readable: stuck, writable: stuck }, (connection) => {
      talks.push(setInterval(() => connection.write('y')))
    })
    const { dial } = await openTunnel(far)
    const connection = dial().on('error', () => {})
    connection.write('x')
    await once(connection, 'data')
    near.readable.end()
    await served
    for (const talk of talks) clearInterval(talk)
  })

  test('ends with its own closing, though the wire stays open', async (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] })
    const stuck = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done(), destroy() {} })
    const { close, ended } = await openTunnel({ readable: stuck, writable: stuck })
    close()
    t.mock.timers.tick(20_000)
    await ended
  })
})

describe('the first line of a stream', () => {
  test('is read without what follows it, however it is cut', async () => {
    for (const parts of [['hello\nrest'], ['hel', 'lo', '\nre', 'st'], ['hello\n', 'rest']]) {
      const stream = new PassThrough()
      const line = readFirstLine(stream, 100)
      for (const part of parts) stream.write(part)
      stream.end()
      assert.equal(await line, 'hello')
      assert.equal(await text(stream), 'rest')
    }
  })

  test('is refused if it is too long, or if the stream ends before it does', async () => {
    const long = new PassThrough()
    long.write('x'.repeat(200))
    await assert.rejects(readFirstLine(long, 100), /too long/)
    const short = new PassThrough()
    short.end('no end')
    await assert.rejects(readFirstLine(short, 100), /has ended/)
  })
})
