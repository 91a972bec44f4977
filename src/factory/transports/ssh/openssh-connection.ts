import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { watch } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { basename, dirname } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { localTransport } from '../local-transport.ts'
import { TransportError } from '../transport.ts'
import { type Channel, type Connection, LoginNeeded } from './connection.ts'
import { type ControlSocket, isLoggedIn, overLogin } from './control-socket.ts'

const COMMAND_LIMIT = 20_000
/** How often it is looked whether the login is still there, milliseconds. */
const LOOK = 5_000

/**
 * The connection that a person has opened by `factory login`, over the OpenSSH client that holds it. Nothing of how they proved who
 * they are is known here.
 * @param advice what to do when it has expired
 * @throws {LoginNeeded} if the user is not logged in
 */
export async function openLogin(control: ControlSocket, advice: string): Promise<Connection> {
  if (!(await isLoggedIn(control))) throw new LoginNeeded(`there is no login at ${control.target}: ${advice}`)
  const lost = Promise.withResolvers<Error>()
  const fault = async () => {
    if (await isLoggedIn(control)) return undefined
    const error = new LoginNeeded(`the login at ${control.target} has expired: ${advice}`)
    lost.resolve(error)
    return error
  }
  const look = () => void fault()
  const looking = setInterval(look, LOOK).unref()
  const watcher = watch(dirname(control.socket), { persistent: false }, (_, name) => {
    if (name === basename(control.socket)) look()
  })
  watcher.on('error', () => {})
  const close = () => {
    clearInterval(looking)
    watcher.close()
  }
  void lost.promise.then(close)

  return {
    exec: (line) => Promise.resolve(start(control, line)),

    async upload(from, to, { offset, bandwidth, signal }) {
      const put = `put ${offset > 0 ? '-a ' : ''}${sftpWord(from)} ${sftpWord(to)}\n`
      const child = spawnPiped(
        overLogin('sftp', control, [
          '-b',
          '-',
          ...(bandwidth === undefined ? [] : ['-l', kilobits(bandwidth)]),
        ]),
      )
      const kill = () => child.kill('SIGKILL')
      signal.addEventListener('abort', kill, { once: true })
      child.stdin.on('error', () => {})
      child.stdin.end(put)
      let said = ''
      child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString().slice(0, 1000)))
      child.stdout.resume()
      const [code] = (await once(child, 'close')) as [number | null]
      signal.removeEventListener('abort', kill)
      if (code !== 0) throw new TransportError(said.trim() || `sftp ended with ${code}`)
    },

    async forwardIn(host, port, onConnection) {
      const path = `${control.socket}.${port}-${process.pid}`
      const server = createServer((socket: Socket) => onConnection(socket))
      server.listen(path)
      await once(server, 'listening')
      const where = `${host}:${port}:${path}`
      const forward = (request: string, at: string) =>
        localTransport().run(overLogin('ssh', control, ['-O', request, '-R', at]), {
          signal: AbortSignal.timeout(COMMAND_LIMIT),
        })
      const { code, stdout, stderr } = await forward('forward', where)
      if (code !== 0) {
        server.close()
        throw new TransportError(`${control.target} does not listen for us: ${stderr.trim()}`)
      }
      const given = port || Number(/\d+/.exec(stdout)?.[0])
      return {
        port: given,
        async close() {
          server.close()
          await forward('cancel', where)
        },
      }
    },

    fault,
    lost: lost.promise,
    close,
  }
}

function start(control: ControlSocket, line: string): Channel {
  const child = spawnPiped(overLogin('ssh', control, []), line)
  return {
    stdin: child.stdin,
    stdout: child.stdout,
    stderr: child.stderr,
    kill: () => void child.kill('SIGKILL'),
  }
}

function spawnPiped(
  command: readonly string[],
  ...more: string[]
): ChildProcessByStdio<Writable, Readable, Readable> {
  const [file, ...args] = [...command, ...more] as [string, ...string[]]
  // Its own process group: a Ctrl-C that stops the factory does not cut a submission in two.
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true })
  child.on('error', (error) => {
    child.stderr.destroy(error)
    child.stdout.destroy(error)
  })
  return child
}

/** A path as one word of sftp's, which takes patterns. */
const sftpWord = (path: string) => `"${path.replace(/["\\*?[\]]/g, '\\$&')}"`

/** A limit in bytes a second, as sftp takes it. */
const kilobits = (bandwidth: number): string => String(Math.max(1, Math.floor((bandwidth * 8) / 1000)))
