import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer, connect } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { eventually } from '../../support/eventually.ts'

const SSHD = '/usr/sbin/sshd'

/** Why there can be no server here; false if there can. */
export const noSshd = existsSync(SSHD) ? false : `${SSHD} is not installed (apt-get install openssh-server)`

/** A real server of this user's on a port of loopback, and what a client needs to reach it. */
export interface Sshd extends AsyncDisposable {
  folder: string
  /** The user's home folder as sessions have it. */
  home: string
  port: number
  /** An ssh_config with the host `login`. */
  config: string
  knownHosts: string
  /** The key that is let in. */
  key: string
  hostKey: string
  log(): string
  /** Ends it, with its connections. */
  stop(): Promise<void>
  start(): Promise<void>
}

export function makeKey(file: string, ...more: string[]): string {
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file, ...more])
  return file
}

/** Where a server is: what goes before its command, and where it listens, in another network namespace, say; and the type of all keys. */
export type SshdPlace = { prefix?: string[]; address?: string; keyType?: 'ed25519' | 'rsa' }

/** @param settings lines of sshd_config that come first, and so take precedence */
export async function startSshd(
  settings: string[] = [],
  clientSettings: string[] = [],
  { prefix = [], address = '127.0.0.1', keyType = 'ed25519' }: SshdPlace = {},
): Promise<Sshd> {
  const folder = mkdtempSync(join(tmpdir(), 'gleaner-sshd-'))
  const [hostKey, key] = ['host_key', 'key'].map((name) => makeKey(join(folder, name), '-t', keyType)) as [
    string,
    string,
  ]
  const port = await freePort()
  const file = (name: string) => join(folder, name)
  writeFileSync(file('authorized_keys'), readFileSync(`${key}.pub`))
  const home = file('home of the user')
  mkdirSync(home)
  const server = [
    ...settings,
    // What the user of this machine has in theirs is none of a test's business.
    `SetEnv "HOME=${home}"`,
    `ListenAddress ${address}`,
    `Port ${port}`,
    `HostKey ${hostKey}`,
    `PidFile ${file('pid')}`,
    `AuthorizedKeysFile ${file('authorized_keys')}`,
    'StrictModes no',
    'UsePAM no',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PermitRootLogin yes',
    ...(settings.some((line) => line.startsWith('Subsystem'))
      ? []
      : ['Subsystem sftp /usr/lib/openssh/sftp-server']),
    'LogLevel VERBOSE',
  ]
  writeFileSync(file('sshd_config'), `${server.join('\n')}\n`)
  const client = [
    'Host login',
    ...clientSettings,
    `HostName ${address}`,
    `Port ${port}`,
    `User ${userInfo().username}`,
    `IdentityFile ${key}`,
    'IdentityAgent none',
    `UserKnownHostsFile ${file('known_hosts')}`,
    'GlobalKnownHostsFile none',
  ]
  writeFileSync(file('config'), `${client.join('\n')}\n`)
  writeFileSync(file('known_hosts'), knownHost(`[${address}]:${port}`, hostKey))
  // Where it runs as root, it separates its privileges in this folder.
  if (process.getuid!() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })

  let child: ChildProcess | undefined
  const sshd: Sshd = {
    folder,
    home,
    port,
    config: file('config'),
    knownHosts: file('known_hosts'),
    key,
    hostKey,
    log: () => readFileSync(file('log'), 'utf8'),
    async start() {
      appendFileSync(file('log'), '')
      const [program = '', ...args] = [...prefix, SSHD]
      const started = spawn(program, [...args, '-D', '-f', file('sshd_config'), '-E', file('log')], {
        stdio: 'ignore',
        detached: true,
      })
      child = started
      await eventually('sshd answers', () => {
        if (started.exitCode !== null) throw new Error(`sshd has ended: ${sshd.log()}`)
        return answers(address, port)
      })
    },
    async stop() {
      if (!child || child.exitCode !== null) return
      const ended = once(child, 'exit')
      const sessions = execFileSync('ps', ['-o', 'pid=', '--ppid', String(child.pid)], { encoding: 'utf8' , }).trim().split(/\s+/) // prettier-ignore
      child.kill('SIGKILL')
      for (const pid of sessions.filter(Boolean)) killQuietly(Number(pid))
      await ended
      child = undefined
    },
    async [Symbol.asyncDispose]() {
      await sshd.stop().catch(() => child?.kill('SIGKILL'))
      rmSync(folder, { recursive: true, force: true })
    },
  }
  await sshd.start()
  return sshd
}

/** A line of known_hosts. */
export const knownHost = (name: string, hostKey: string): string =>
  `${name} ${readFileSync(`${hostKey}.pub`, 'utf8').split(' ').slice(0, 2).join(' ')}\n`

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended by itself.
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

function answers(address: string, port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = connect(port, address)
  socket.once('data', () => resolve(true))
  socket.once('error', () => resolve(false))
  return promise.finally(() => socket.destroy())
}
