import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { spawn as spawnInTerminal } from 'node-pty'
import ssh2, { type Connection } from 'ssh2'
import { openTransports } from '../../../../src/factory/transports/open-transports.ts'
import { batchSiteAt } from './ssh-site.ts'
import { knownHost, makeKey } from './sshd.ts'

const BIN = fileURLToPath(new URL('../../../../bin/factory.js', import.meta.url))
const CODE = '424242'
const patient = () => AbortSignal.timeout(600_000)
const noSsh = existsSync('/usr/bin/ssh')
  ? false
  : 'there is no OpenSSH client (apt-get install openssh-client)'

/** A login node that lets in who has the second factor, and nothing else. */
async function secondFactorNode(folder: string) {
  const hostKey = makeKey(join(folder, 'host_key'))
  const connections = new Set<Connection>()
  const children = new Set<ChildProcess>()
  const server = new ssh2.Server({ hostKeys: [readFileSync(hostKey)] }, (client) => {
    connections.add(client)
    client.on('error', () => {}).on('close', () => connections.delete(client))
    client.on('authentication', (attempt) => {
      if (attempt.method !== 'keyboard-interactive') return attempt.reject(['keyboard-interactive'])
      attempt.prompt([{ prompt: 'Verification code: ', echo: false }], ([answer]) =>
        answer === CODE ? attempt.accept() : attempt.reject(['keyboard-interactive']),
      )
    })
    client.on('session', (accept) =>
      accept().on('exec', (acceptExec, _reject, { command }) => {
        const channel = acceptExec()
        const child = spawn('/bin/sh', ['-c', command], { env: { PATH: process.env['PATH'], HOME: folder } })
        children.add(child)
        channel.pipe(child.stdin)
        child.stdout.pipe(channel, { end: false })
        child.stderr.pipe(channel.stderr, { end: false })
        child.stdin.on('error', () => {})
        child.once('close', (code) => {
          children.delete(child)
          channel.exit(code ?? 1)
          channel.end()
        })
      }),
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const config = join(folder, 'ssh_config')
  writeFileSync(join(folder, 'known_hosts'), knownHost(`[127.0.0.1]:${port}`, hostKey))
  const lines = [
    'Host login',
    'HostName 127.0.0.1',
    `Port ${port}`,
    'User researcher',
    'IdentityFile none',
    'IdentityAgent none',
  ]
  writeFileSync(config, [...lines, `UserKnownHostsFile ${join(folder, 'known_hosts')}`, ''].join('\n'))
  const hangUp = () => connections.forEach((client) => client.end())
  const close = () => {
    hangUp()
    children.forEach((child) => child.kill('SIGKILL'))
    server.close()
  }
  return { config, hangUp, close }
}

/** A person at a terminal who runs `factory login`, and answers. */
async function logIn(
  state: string,
  answer: string,
  ...more: string[]
): Promise<{ said: string; code: number }> {
  const size = { cols: 200, rows: 24, name: 'xterm', cwd: state, env: process.env, encoding: null }
  const terminal = spawnInTerminal(process.execPath, [BIN, 'login', 'far', '--state', state, ...more], size)
  let said = ''
  let asked = 0
  terminal.onData((bytes) => {
    said += bytes.toString()
    const questions = said.split('Verification code: ').length - 1
    for (; asked < questions; asked++) terminal._socket.write(`${answer}\r`)
  })
  const { exitCode } = await new Promise<{ exitCode: number }>((resolve) => terminal.onExit(resolve))
  return { said, code: exitCode }
}

describe('a site that asks for a second factor', { skip: noSsh }, () => {
  let folder: string
  let node: Awaited<ReturnType<typeof secondFactorNode>>
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gleaner-login-'))
    node = await secondFactorNode(folder)
    const transport = { ssh: 'login', config: node.config, folder: join(folder, 'far'), login: true }
    writeFileSync(
      join(folder, 'factory.yaml'),
      JSON.stringify({ sites: { far: { kind: 'slurm', transport } } }),
    )
  })
  after(() => {
    node.close()
    rmSync(folder, { recursive: true })
  })
  const answerOf = async (login: boolean) => {
    using transports = openTransports(folder)
    const transport = transports.of(batchSiteAt(node, folder, { login }), [], 'f')
    return await transport.run(['echo', 'hello'], { signal: patient() })
  }

  test('without a login says what it waits for, and with which command', async () => {
    await assert.rejects(answerOf(true), /there is no login at login.*factory login far/)
    await assert.rejects(
      answerOf(false),
      /asks "Verification code:", which a person must answer; log in: factory login far/,
    )
  })

  test('refuses a login with a wrong answer', async () => {
    const { said, code } = await logIn(folder, '111111')
    assert.notEqual(code, 0)
    assert.match(said, /there is no login at login: ssh has ended with 255/)
    await assert.rejects(answerOf(true), /factory login far/)
  })

  test('is worked at over the person’s login until that expires, and again after the next one', async () => {
    using transports = openTransports(folder)
    const transport = transports.of(batchSiteAt(node, folder, { login: true }), [], 'f')
    const hello = () => transport.run(['echo', 'hello'], { signal: patient() })
    await assert.rejects(hello(), /factory login far/)
    for (const time of ['first', 'second']) {
      const { said, code } = await logIn(folder, CODE)
      assert.equal(code, 0, said)
      assert.doesNotMatch(said, new RegExp(CODE))
      assert.deepEqual(await hello(), { code: 0, stdout: 'hello\n', stderr: '' }, time)
      node.hangUp()
      await assert.rejects(async () => {
        for (;;) await hello()
      }, /factory login far/)
    }
  })

  test('can be told to end a login', async () => {
    const { said, code } = await logIn(folder, CODE)
    assert.equal(code, 0, said)
    assert.match((await logIn(folder, CODE)).said, /there is a login at login already/)
    assert.match((await logIn(folder, CODE, '--end')).said, /there is no login at login any more/)
    await assert.rejects(answerOf(true), /factory login far/)
  })
})
