import assert from 'node:assert/strict'
import { createHmac, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  judgeKey,
  knownName,
  linesAbout,
  parseKnownHosts,
  signaturesToAsk,
} from '../../../../src/factory/transports/ssh/known-hosts.ts'

/** A public key as it goes over the wire: its type, then bytes that tell it from others. */
function keyOf(type: string, rest: string): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(type.length)
  return Buffer.concat([length, Buffer.from(type), Buffer.from(rest)])
}
const right = keyOf('ssh-ed25519', 'right')
const wrong = keyOf('ssh-ed25519', 'wrong')
const line = (names: string, key: Buffer, marker = '') =>
  `${marker} ${names} ${key.toString('latin1', 4, 4 + key.readUInt32BE())} ${key.toString('base64')} a comment`

function hashed(name: string): string {
  const salt = randomBytes(20)
  return `|1|${salt.toString('base64')}|${createHmac('sha1', salt).update(name).digest('base64')}`
}

const verdict = (text: string, host: string, key: Buffer, port = 22) =>
  judgeKey(linesAbout(knownName(host, port), parseKnownHosts(text, 'known_hosts')), key)

test('a host is found by its name, a pattern or a hash, and by its port where that is not the usual one', () => {
  for (const [names, host, port] of [
    ['login1', 'login1', 22],
    ['other,login1', 'LOGIN1', 22],
    ['login?.example.org', 'login7.example.org', 22],
    ['*.example.org', 'login7.example.org', 22],
    ['[login1]:2222', 'login1', 2222],
    [hashed('login1'), 'login1', 22],
    [hashed('[login1]:2222'), 'login1', 2222],
  ] as const) {
    assert.deepEqual(verdict(line(names, right), host, right, port), { is: 'known' }, names)
    assert.deepEqual(
      verdict(line(names, right), host, wrong, port),
      { is: 'changed', at: 'known_hosts:1' },
      names,
    )
    assert.deepEqual(
      verdict(line(names, right), 'login2', right, port === 22 ? 2022 : 22),
      { is: 'unknown' },
      names,
    )
  }
  assert.deepEqual(verdict(line('*.org,!login1.org', right), 'login1.org', right), { is: 'unknown' })
})

test('a key that is revoked is refused, wherever else it is known', () => {
  const text = ['# my hosts', line('login1', right), line('*', right, '@revoked')].join('\n')
  assert.deepEqual(verdict(text, 'login1', right), { is: 'revoked', at: 'known_hosts:3' })
})

test('an authority for certificates says nothing of a plain key', () => {
  const text = line('login1', right, '@cert-authority')
  assert.deepEqual(verdict(text, 'login1', right), { is: 'authority', at: 'known_hosts:1' })
})

test('a key of a type that is not known of a host is unknown, and one of its known types is asked for first', () => {
  const text = line('login1', keyOf('ssh-rsa', 'right'))
  assert.deepEqual(verdict(text, 'login1', right), { is: 'unknown' })
  const asked = signaturesToAsk(parseKnownHosts(text, 'known_hosts'))
  assert.deepEqual(asked.slice(0, 3), ['rsa-sha2-512', 'rsa-sha2-256', 'ssh-rsa'])
  assert.ok(asked.includes('ssh-ed25519'))
})

test('no text of a file of known hosts makes a key known that is not in it', () => {
  fc.assert(
    fc.property(
      fc.string(),
      fc.array(fc.constantFrom('login1', '*', '@revoked', 'ssh-ed25519', '|1|', '!', '\n', ' ', ','), {
        maxLength: 30,
      }),
      (text, parts) => {
        for (const hosts of [text, parts.join(' '), parts.join('')])
          assert.notEqual(verdict(hosts, 'login1', right).is, 'known')
      },
    ),
  )
})
