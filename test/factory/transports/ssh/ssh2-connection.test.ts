import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Connection, LoginNeeded } from '../../../../src/factory/transports/ssh/connection.ts'
import { hostLink } from '../../../../src/factory/transports/ssh/host-link.ts'
import { hostSettings } from '../../../../src/factory/transports/ssh/host-settings.ts'
import { scriptRunner } from '../../../../src/factory/transports/ssh/script-runner.ts'
import { ownScript } from '../../../../src/factory/transports/ssh/remote-script.ts'
import { openSsh2 } from '../../../../src/factory/transports/ssh/ssh2-connection.ts'
import { TransportError } from '../../../../src/factory/transports/transport.ts'
import { eventually } from '../../support/eventually.ts'
import { knownHost, makeKey, noSshd, type Sshd, startSshd } from './sshd.ts'

const patient = () => AbortSignal.timeout(600_000)

let sshd: Sshd
before(async () => {
  if (!noSshd) sshd = await startSshd()
})
after(() => sshd?.[Symbol.asyncDispose]())

/** An ssh_config of this server's with other settings, which come first. */
function configWith(...lines: string[]): string {
  const file = join(sshd.folder, `config-${lines.join().length}-${Math.random()}`)
  writeFileSync(file, ['Host login', ...lines, readFileSync(sshd.config, 'utf8')].join('\n'))
  return file
}
const open = (config: string, env: NodeJS.ProcessEnv = {}) => {
  const settings = hostSettings('login', config, env)
  return openSsh2([...settings.jumps.map((jump) => hostSettings(jump, config, env)), settings])
}
async function whoAmI(connection: Connection): Promise<string> {
  const link = hostLink({ open: () => Promise.resolve(connection) })
  const runner = scriptRunner(link, 'login')
  const { stdout } = await runner.run(ownScript('id -un', runner.mark), patient())
  link.close()
  return stdout
}

describe('a connection', { skip: noSshd }, () => {
  test('is opened to a host with a known key only, hashed or not; otherwise it says what to do', async () => {
    const name = `[127.0.0.1]:${sshd.port}`
    const other = makeKey(join(sshd.folder, 'other_host_key'))
    const cases: [text: string, expected: RegExp | undefined][] = [
      [knownHost(name, sshd.hostKey), undefined],
      [
        knownHost(name, other),
        /has changed: it shows ssh-ed25519 SHA256:\S+, and \S+known:1 has another.*ssh-keygen -R '\[127/,
      ],
      ['', /is not known: compare it with what its administrators publish, and ssh login once/],
      [`@revoked ${knownHost('*', sshd.hostKey)}`, /is revoked at \S+known:1/],
      [`@cert-authority ${knownHost('*', other)}`, /by the authority at \S+known:1 only.*"factory login"/],
    ]
    const file = join(sshd.folder, 'known')
    for (const [text, expected] of cases) {
      writeFileSync(file, text)
      const opening = open(configWith(`UserKnownHostsFile ${file}`, 'StrictHostKeyChecking no'))
      if (expected)
        await assert.rejects(
          opening,
          (error) => error instanceof TransportError && expected.test(error.message),
        )
      else (await opening).close()
    }
    writeFileSync(file, knownHost(name, sshd.hostKey))
    execFileSync('ssh-keygen', ['-q', '-H', '-f', file], { stdio: 'ignore' })
    ;(await open(configWith(`UserKnownHostsFile ${file}`))).close()
  })

  test('with a key that is not let in says what was tried, what the host takes, and why other keys were left out', async () => {
    const wrong = makeKey(join(sshd.folder, 'wrong'))
    const locked = join(sshd.folder, 'locked')
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', 'a passphrase', '-f', locked])
    const lines = [`IdentityFile ${wrong}`, `IdentityFile ${locked}`]
    const config = join(sshd.folder, 'wrong-config')
    writeFileSync(
      config,
      ['Host login', ...lines, readFileSync(sshd.config, 'utf8').replace(/^IdentityFile.*$/m, '')].join('\n'),
    )
    await assert.rejects(open(config), (error) => {
      assert.ok(error instanceof LoginNeeded)
      assert.match(
        error.message,
        /^login does not let \S+ in; tried \S+wrong; it takes publickey; \S+locked has a passphrase: .*ssh-add/,
      )
      assert.doesNotMatch(error.message, /a passphrase:.*a passphrase/)
      return true
    })
  })

  test('is let in by a key that only the agent has', async () => {
    const socket = join(sshd.folder, 'agent')
    const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: ['ignore', 'pipe', 'ignore'] })
    await once(agent.stdout, 'data')
    try {
      execFileSync('ssh-add', ['-q', sshd.key], { env: { ...process.env, SSH_AUTH_SOCK: socket } })
      const config = join(sshd.folder, 'agent-config')
      const lines = readFileSync(sshd.config, 'utf8').replace(/^IdentityFile.*$/m, 'IdentityFile /nowhere')
      writeFileSync(config, lines.replace(/^IdentityAgent.*$/m, `IdentityAgent ${socket}`))
      const connection = await open(config)
      assert.notEqual(await whoAmI(connection), '')
      connection.close()
    } finally {
      agent.kill()
    }
  })

  test('goes through other hosts, each with a known key of its own', async () => {
    await using gate = await startSshd()
    const jump = readFileSync(gate.config, 'utf8').replace('Host login', 'Host gate')
    const config = join(sshd.folder, 'jump-config')
    writeFileSync(
      config,
      ['Host login', 'ProxyJump gate', readFileSync(sshd.config, 'utf8'), jump].join('\n'),
    )
    const connection = await open(config)
    assert.notEqual(await whoAmI(connection), '')
    connection.close()
    assert.match(gate.log(), /Accepted publickey/)
    writeFileSync(gate.knownHosts, '')
    await assert.rejects(open(config), /the key of gate .* is not known/)
  })

  test('runs over the command that the configuration names as proxy', async () => {
    const connection = await open(
      configWith(
        `ProxyCommand ${process.execPath} -e "const s=require('net').connect(%p,'%h');process.stdin.pipe(s).pipe(process.stdout)"`,
      ),
    )
    assert.notEqual(await whoAmI(connection), '')
    connection.close()
  })

  test('sends a file no faster than it may', async () => {
    const connection = await open(configWith())
    const [from, to] = ['from', 'to'].map((name) => join(sshd.folder, name)) as [string, string]
    writeFileSync(from, Buffer.alloc(300_000, 'x'))
    const began = performance.now()
    await connection.upload(from, to, { offset: 0, bandwidth: 1_000_000, signal: patient() })
    // Less what may pass at once.
    assert.ok(performance.now() - began >= 200)
    assert.deepEqual(readFileSync(to), readFileSync(from))
    connection.close()
  })

  test('has the far end listen, and brings what comes in there', async () => {
    const connection = await open(sshd.config)
    const listener = await connection.forwardIn('127.0.0.1', 0, (socket) => socket.end('from here'))
    const [said] = (await once(connect(listener.port, '127.0.0.1'), 'data')) as [Buffer]
    assert.equal(said.toString(), 'from here')
    await listener.close()
    connection.close()
  })
})

describe('the connection to a host', { skip: noSshd }, () => {
  test('is one for many commands, waits its turn after it failed, and is opened again after it broke', async () => {
    await using server = await startSshd(['MaxSessions 2'])
    let attempts = 0
    const link = hostLink({
      open: (attempt) => {
        attempts = attempt + 1
        return openSsh2([hostSettings('login', server.config, {})])
      },
      chance: () => 0,
    })
    const runner = scriptRunner(link, 'login')
    const hello = () => runner.run(ownScript('echo hello', runner.mark), patient())
    const answers = await Promise.all(Array.from({ length: 10 }, hello))
    assert.ok(answers.every(({ stdout }) => stdout === 'hello\n'))
    assert.equal(attempts, 1)

    await server.stop()
    await assert.rejects(async () => {
      for (;;) await hello()
    }, /cannot be reached|has broken/)
    await eventually('it waits its turn', () =>
      hello().catch(({ message }: Error) => /\(tries again in 1 s\)/.test(message)),
    )
    const before = attempts
    await assert.rejects(hello(), /\(tries again in 1 s\)/)
    assert.equal(attempts, before)
    await server.start()
    for (let answer = ''; answer !== 'hello\n';)
      answer = await hello().then(
        ({ stdout }) => stdout,
        () => '',
      )
    link.close()
  })
})
