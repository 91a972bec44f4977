import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { Duplex } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import { joinConnections } from '../../src/common/join-connections.ts'
import { socketPair } from '../../src/common/tunnel/socket-pair.ts'
import { until } from '../support/until.ts'

const LARGE = Buffer.alloc(8 << 20, 'x')

/** Two pairs of sockets of which the inner ones are joined. */
async function joined(lingerMs?: number) {
  const [user, first] = await socketPair({ allowHalfOpen: true })
  const [server, second] = await socketPair({ allowHalfOpen: true })
  for (const end of [user, server]) end.on('error', () => {})
  const over = joinConnections(first, second, { ...(lingerMs !== undefined && { lingerMs }) })
  return { user, server, over }
}

describe('joined connections', () => {
  test('carry both ways, each to its end', async () => {
    const { user, server, over } = await joined()
    user.end(LARGE)
    assert.equal((await buffer(server)).length, LARGE.length)
    server.end('all of it')
    assert.equal((await buffer(user)).toString(), 'all of it')
    await over
  })

  test('pass on all that came from one before it broke to a slow reader that still talks', async () => {
    const heard: string[] = []
    const ended = Promise.withResolvers<void>()
    let taken = () => {}
    const slow = new Duplex({
      read() {},
      write(chunk: Buffer, _encoding, done) {
        heard.push(chunk.toString())
        taken = done
      },
      final(done) {
        ended.resolve()
        done()
      },
    })
    const broken = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done(new Error('EPIPE')) })
    const over = joinConnections(slow, broken)
    for (const part of ['an answer, ', 'and how it ended']) broken.push(part)
    await until(() => heard.length === 1)
    slow.push('more of the question')
    await until(() => broken.closed)
    taken()
    await until(() => heard.length === 2)
    taken()
    await ended.promise
    assert.deepEqual(heard, ['an answer, ', 'and how it ended'])
    slow.push(null)
    await over
  })

  test('close the other when one breaks, also where that does not close by itself', async () => {
    const { user, server, over } = await joined(10)
    server.resume()
    user.resetAndDestroy()
    await once(server, 'end')
    // It has heard of it, and leaves its own way open.
    await over
    server.destroy()
  })

  test('have one that is closed already close the other', async () => {
    const [first, other] = await socketPair()
    const [second, user] = await socketPair()
    other.on('error', () => {}).resume()
    first.destroy()
    await once(first, 'close')
    const over = joinConnections(first, second)
    user.resume()
    await once(user, 'close')
    await over
  })
})

test('a pair of sockets has no end that another process dialled', async () => {
  const [near, far] = await socketPair()
  assert.equal(near.localPort, far.remotePort)
  assert.equal(near.remotePort, far.localPort)
  const late = connect(far.localPort!, '127.0.0.1')
  const [error] = (await once(late, 'error')) as [NodeJS.ErrnoException]
  assert.equal(error.code, 'ECONNREFUSED', 'nothing listens any more')
  for (const end of [near, far]) end.destroy()
})
