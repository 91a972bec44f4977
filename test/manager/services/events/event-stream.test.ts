import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { test } from 'node:test'
import { pino } from 'pino'
import { streamEvents } from '../../../../src/manager/http/routes/events.ts'
import { EventFeed } from '../../../../src/manager/services/events/event-feed.ts'
import { openParts } from '../../../support/manager-parts.ts'
import { until } from '../../../support/until.ts'

test('a reader that never reads holds up nothing: what it does not take stays in the ledger, not in memory', async () => {
  await using parts = await openParts()
  const feed = new EventFeed(parts.ledger, pino({ level: 'silent' }), () => 1)
  let stream: ServerResponse | undefined
  const server = createServer((_request, response) => {
    stream = response
    streamEvents(response, feed, { after: 0 })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const socket = connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port })
  socket.pause()
  socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
  await until(() => stream !== undefined)
  let most = 0
  for (let i = 0; i < 20; i++) {
    for (let k = 0; k < 100; k++) feed.note({ type: 'site-paused', site: 's', reason: 'x'.repeat(16_000) })
    await until(() => feed.before(0, {}) === (i + 1) * 100)
    most = Math.max(most, stream!.writableLength)
  }
  assert.ok(most < 1 << 20, `${most} of 32 MB wait in memory`)
  // It reads at last, and has all.
  let read = 0
  socket.on('data', (bytes) => (read += bytes.length)).resume()
  await until(() => read > 32_000_000)
  assert.equal(feed.followers, 1)
  socket.destroy()
  await until(() => feed.followers === 0)
  await feed.close()
  server.close()
})
