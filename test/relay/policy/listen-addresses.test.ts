import assert from 'node:assert/strict'
import { test } from 'node:test'
import { listenAddresses } from '../../../src/relay/policy/listen-addresses.ts'

const own = (...addresses: string[]) =>
  ['127.0.0.1', '::1', 'fe80::1', ...addresses].map((address) => ({
    address,
    family: address.includes(':') ? 'IPv6' : 'IPv4',
    internal: address === '127.0.0.1' || address === '::1',
  }))

test('a relay listens in the cluster’s network, and where the factory came in only if there is no other', () => {
  const cases: [addresses: string[], cameTo: string | undefined, expected: string[]][] = [
    [['192.0.2.7', '10.1.0.5'], '192.0.2.7', ['10.1.0.5']],
    [['10.9.0.1', '172.20.0.5', '192.168.1.1'], '10.9.0.1', ['172.20.0.5', '192.168.1.1']],
    [['10.9.0.1'], '10.9.0.1', ['10.9.0.1']],
    [['192.0.2.7', '172.17.0.1'], '192.0.2.7', ['192.0.2.7', '172.17.0.1']],
    [['10.1.0.5', '172.17.0.1', 'fd00::5'], undefined, ['10.1.0.5', 'fd00::5']],
    [[], undefined, ['127.0.0.1']],
  ]
  for (const [addresses, cameTo, expected] of cases)
    assert.deepEqual(listenAddresses(own(...addresses), cameTo), expected, addresses.join(' '))
})
