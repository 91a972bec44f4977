import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { hostSettings, parseTarget } from '../../../../src/factory/transports/ssh/host-settings.ts'

let folder: string
before(() => void (folder = mkdtempSync(join(tmpdir(), 'gleaner-config-'))))
after(() => rmSync(folder, { recursive: true }))

function configOf(...lines: string[]): string {
  const file = join(folder, 'config')
  writeFileSync(file, lines.join('\n'))
  return file
}

test('a host has what ssh_config says of it, the first value of each key, and usual values otherwise', () => {
  const file = configOf(
    'Host far',
    '  HostName %h.example.org',
    '  Port 2222',
    '  User alice',
    '  IdentityFile ~/.ssh/%r@%h',
    '  IdentityFile "/keys/of mine"',
    '  IdentitiesOnly yes',
    '  ProxyJump gate,bob@inner:2200',
    '  UserKnownHostsFile /a "/b c"',
    'Host *',
    '  Port 22',
    '  ForwardAgent yes',
  )
  const settings = hostSettings('far', file, { SSH_AUTH_SOCK: '/agent' })
  assert.deepEqual(settings, {
    alias: 'far',
    host: 'far.example.org',
    port: 2222,
    user: 'alice',
    knownHosts: ['/a', '/b c', '/etc/ssh/ssh_known_hosts', '/etc/ssh/ssh_known_hosts2'],
    identities: [join(homedir(), '.ssh/alice@far.example.org'), '/keys/of mine'],
    identitiesOnly: true,
    certificates: [],
    agent: '/agent',
    jumps: ['gate', 'bob@inner:2200'],
  })
  const other = hostSettings('carol@other:23', file, {})
  assert.deepEqual([other.host, other.port, other.user, other.jumps], ['other', 23, 'carol', []])
  assert.equal(hostSettings('plain', file, {}).user, userInfo().username)
})

test('what is included belongs to where it is included, and the section goes on after it', () => {
  writeFileSync(join(folder, 'more'), 'Host inner\n  User ian\n')
  const file = configOf('Host far', `  Include ${folder}/mor*`, '  User fay', 'Host none')
  assert.equal(hostSettings('inner', file, {}).user, 'ian')
  assert.equal(hostSettings('far', file, {}).user, 'fay')
})

test('no agent, proxy or jump is used that the configuration turns off', () => {
  const file = configOf('Host far', '  IdentityAgent none', '  ProxyJump none', '  ProxyCommand none')
  const { agent, jumps, proxyCommand } = hostSettings('far', file, { SSH_AUTH_SOCK: '/agent' })
  assert.deepEqual([agent, jumps, proxyCommand], [undefined, [], undefined])
})

test('what is no host, and could be an option of a command, is refused', () => {
  for (const target of ['', '-oProxyCommand=id', 'a@-b', '-l@host', 'two words', 'host:port', 'a:1:2'])
    assert.throws(() => parseTarget(target), /is no host: expected \[USER@\]HOST\[:PORT\]/, target)
  assert.deepEqual(parseTarget('me@[::1]:22'), { user: 'me', host: '::1', port: 22 })
})

test('a configuration that is named and is not there is an error', () => {
  assert.throws(() => hostSettings('far', join(folder, 'nowhere'), {}), /nowhere cannot be read/)
})
