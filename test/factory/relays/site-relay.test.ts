import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import { createThrottle } from '../../../src/common/tunnel/throttle.ts'
import { keepRelay, RelayDown, type SiteRelayOptions } from '../../../src/factory/relays/site-relay.ts'

test('who waits for a relay that is ended hears so', async () => {
  const relay = keepRelay({
    // A host that does not answer.
    link: { connection: () => new Promise(() => {}) } as unknown as SiteRelayOptions['link'],
    files: {} as SiteRelayOptions['files'],
    host: 'login',
    name: 'a-relay',
    runtime: { path: '/none', sha256: '0'.repeat(64) },
    manager: { host: '127.0.0.1', port: 1 },
    certificate: '',
    cacheBytes: 0,
    throttle: createThrottle(undefined),
    file: '/none',
    log: pino({ level: 'silent' }),
  })
  const ready = relay.ready(new AbortController().signal)
  relay.close()
  await assert.rejects(ready, new RelayDown('the relay at login was ended'))
})
