import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import { test } from 'node:test'
import { expectedUrl, unreachable } from '../../../src/cli/factory-process/expected-address.ts'
import { ConfigFile, resolveConfig } from '../../../src/factory/config/config.ts'

const config = (manager: object) =>
  resolveConfig(ConfigFile.parse({ manager, sites: { here: { kind: 'local' }, cluster: { kind: 'slurm' } } }))

test('a manager that only this machine reaches is said for each site whose nodes are others', () => {
  const loopback = config({ listen: '127.0.0.1:9700' })
  const [warning, ...more] = unreachable(loopback, expectedUrl(loopback).url)
  assert.match(
    warning ?? '',
    /^site cluster: no other machine can reach the manager at http:\/\/127\.0\.0\.1:9700, .*manager\.listen, e\.g\. 0\.0\.0\.0:9700/,
  )
  assert.deepEqual(more, [])
  const url = 'https://localhost:9700'
  assert.match(unreachable(config({ url }), url).join(), /manager\.url/)
  assert.equal(unreachable(config({}), 'http://[::1]:80').length, 1)
})

test('a manager that other machines reach is not complained of', () => {
  const open = config({ listen: '0.0.0.0:9700' })
  assert.deepEqual(expectedUrl(open), { url: `https://${hostname()}:9700`, tls: true })
  assert.deepEqual(unreachable(open, expectedUrl(open).url), [])
  const proxied = config({ listen: '127.0.0.1:9700', url: 'https://gate.example:443' })
  assert.deepEqual(unreachable(proxied, expectedUrl(proxied).url), [])
})

test('a relay that a user starts elsewhere is said not to reach a manager that only this machine reaches', () => {
  const sites = {
    far: { kind: 'slurm', relay: 'gateway:9800' },
    near: { kind: 'slurm', relay: '127.0.0.1:9800' },
  }
  const closed = resolveConfig(ConfigFile.parse({ sites }))
  const [warning, ...more] = unreachable(closed, 'http://127.0.0.1:9700')
  assert.match(
    warning ?? '',
    /^site far: its relay at gateway can reach .* only if it runs on this machine; .*manager\.listen/,
  )
  assert.deepEqual(more, [])
  assert.deepEqual(unreachable(closed, 'https://submit.example:9700'), [])
})
