import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { lookAtManager } from '../../src/relay/look-at-manager.ts'
import { makeState, removeState, startOn } from '../support/manager.ts'

/** A manager in a folder of its own. */
async function managerThat(options: { encrypt: boolean }) {
  const state = await makeState()
  const manager = await startOn(state, options)
  return {
    url: manager.url,
    certificate: () => readFileSync(join(state, 'manager.crt'), 'utf8'),
    async [Symbol.asyncDispose]() {
      await manager.close()
      await removeState(state)
    },
  }
}

test('a relay knows the manager whose certificate it was given, and tells another one from it', async () => {
  await using own = await managerThat({ encrypt: true })
  await using foreign = await managerThat({ encrypt: true })
  assert.deepEqual(await lookAtManager(own.url, own.certificate()), { is: 'manager' })
  const seen = await lookAtManager(foreign.url, own.certificate())
  assert.ok(
    seen.is === 'other' && /another certificate than that of --ca/.test(seen.why),
    JSON.stringify(seen),
  )
})

test('a relay without the certificate of a manager that made its own is told to get it', async () => {
  await using own = await managerThat({ encrypt: true })
  const seen = await lookAtManager(own.url)
  assert.ok(seen.is === 'other' && /give manager\.crt/.test(seen.why), JSON.stringify(seen))
})

test('a relay tells http from https, what is no manager from one, and what is away from both', async () => {
  await using encrypted = await managerThat({ encrypt: true })
  await using plain = await managerThat({ encrypt: false })
  assert.deepEqual(await lookAtManager(plain.url), { is: 'manager' })
  const swapped = [
    await lookAtManager(encrypted.url.replace('https:', 'http:')),
    await lookAtManager(plain.url.replace('http:', 'https:'), encrypted.certificate()),
  ]
  for (const seen of swapped)
    assert.ok(seen.is === 'other' && /may be confused/.test(seen.why), JSON.stringify(seen))

  const server = createServer((_request, response) => response.end('hello')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  assert.deepEqual(await lookAtManager(url), { is: 'other', why: 'what answers there is no manager' })
  server.close()
  await once(server, 'close')
  const gone = await lookAtManager('http://127.0.0.1:1')
  assert.ok(gone.is === 'away' && /ECONNREFUSED/.test(gone.why), JSON.stringify(gone))
})
