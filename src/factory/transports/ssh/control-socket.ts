import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { makePrivateFolder } from '../../../common/private-path.ts'
import { localTransport } from '../local-transport.ts'
import { parseTarget } from './host-settings.ts'

/** Longest path of a socket, less what OpenSSH puts behind it while it makes one, bytes. */
const SOCKET_MAX = 107 - 17
const ASK_LIMIT = 20_000

/** How a person's login to a host is found: by the socket at which the OpenSSH client that holds it listens. */
export type ControlSocket = {
  /** `[USER@]HOST[:PORT]`, as the user names it. */
  target: string
  socket: string
  /** In place of the user's ssh_config. */
  configFile?: string
}

/** @param stateFolder absolute. The socket is below it, or, where that is too long for one, in a folder named after it. */
export function controlSocket(stateFolder: string, target: string, configFile?: string): ControlSocket {
  const name = createHash('sha256').update(target).digest('hex').slice(0, 12)
  const inState = join(stateFolder, 'logins', name)
  const hash = createHash('sha256').update(stateFolder).digest('hex').slice(0, 12)
  const elsewhere = join(tmpdir(), `gleaner-logins-${process.getuid!()}-${hash}`, name)
  const socket = Buffer.byteLength(inState) <= SOCKET_MAX ? inState : elsewhere
  return { target, socket, ...(configFile !== undefined && { configFile }) }
}

const hostOptions = ({ target, configFile }: ControlSocket) => {
  const { user, host, port } = parseTarget(target)
  return {
    host,
    options: [
      ...(configFile === undefined ? [] : ['-F', configFile]),
      ...(user === undefined ? [] : ['-o', `User=${user}`]),
      ...(port === undefined ? [] : ['-o', `Port=${port}`]),
    ],
  }
}

/** The command by which a person logs in. It returns once they are in, and stays behind in the background. */
export function loginCommand(control: ControlSocket, idle: string): string[] {
  const { host, options } = hostOptions(control)
  const settings = {
    ControlMaster: 'yes',
    ControlPath: escaped(control.socket),
    ControlPersist: idle,
    ForwardAgent: 'no',
    ForwardX11: 'no',
    ClearAllForwardings: 'yes',
    PermitLocalCommand: 'no',
    RemoteCommand: 'none',
    ServerAliveInterval: '15',
    ServerAliveCountMax: '3',
  }
  const set = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  // A first session: once it has ended, what holds the connection has left the terminal, whose end would end it otherwise.
  return ['ssh', ...options, ...set, '-T', '--', host, 'exit 0']
}

/**
 * A command that goes over a person's login, and nowhere without it.
 * @param program `ssh` or `sftp`
 */
export function overLogin(
  program: 'ssh' | 'sftp',
  control: ControlSocket,
  more: readonly string[],
): string[] {
  const { host, options } = hostOptions(control)
  const settings = [
    'ControlMaster=no',
    `ControlPath=${escaped(control.socket)}`,
    'BatchMode=yes',
    'RemoteCommand=none',
  ]
  // Without its control connection, the client would open one of its own.
  const set = [...settings, 'ProxyCommand=false', 'ProxyJump=none'].flatMap((option) => ['-o', option])
  const quiet = program === 'ssh' ? ['-T', '-o', 'LogLevel=ERROR'] : ['-q']
  return [program, ...options, ...set, ...quiet, ...more, '--', host]
}

/** Whether the user has logged in and the login has not expired. */
export async function isLoggedIn(control: ControlSocket): Promise<boolean> {
  if (!existsSync(control.socket)) return false
  const command = overLogin('ssh', control, ['-O', 'check'])
  const result = await local.run(command, { signal: AbortSignal.timeout(ASK_LIMIT) }).catch(() => undefined)
  // One that was killed leaves its socket behind.
  if (result !== undefined && result.code !== 0) await rm(control.socket, { force: true })
  return result?.code === 0
}

/** Ends a login, if there is one, and makes room for another. */
export async function endLogin(control: ControlSocket): Promise<void> {
  await makePrivateFolder(dirname(control.socket))
  if (!existsSync(control.socket)) return
  const command = overLogin('ssh', control, ['-O', 'exit'])
  await local.run(command, { signal: AbortSignal.timeout(ASK_LIMIT) }).catch(() => undefined)
  await rm(control.socket, { force: true })
}

const local = localTransport()

/** A path in which OpenSSH expands nothing. */
const escaped = (path: string) => path.replaceAll('%', '%%')
