import { spawn } from 'node:child_process'
import { open } from 'node:fs/promises'
import { Duplex } from 'node:stream'
import PQueue from 'p-queue'
import ssh2, { type Client, type ClientChannel, type SFTPWrapper } from 'ssh2'
import { createThrottle } from '../../../common/tunnel/throttle.ts'
import { TransportError, NotStartedError } from '../transport.ts'
import { authHandler, findCredentials } from './authentication.ts'
import {
  type Channel,
  type Connection,
  LoginNeeded,
  SessionRefused,
  type UploadOptions,
} from './connection.ts'
import { checkKey, readKnownHosts } from './host-key.ts'
import type { HostSettings } from './host-settings.ts'
import { signaturesToAsk } from './known-hosts.ts'

/** Longest that opening a connection may take, also to a login node that is overrun, and how often an idle one is tried, milliseconds. */
const OPEN_LIMIT = 60_000
const KEEPALIVE = 15_000
const KEEPALIVES_MISSED = 3
/** Bytes of one write of SFTP, which every server takes, and how many of them are under way at once. */
const WRITE = 32 << 10
const WRITES = 64

/**
 * Opens a connection to a host, through others if its settings say so. Every host on the way must show a key that is known.
 * @param ways the hosts to go through and, last, the one to reach
 * @throws {LoginNeeded} if it asks what only a person can answer; {@link TransportError} with what to do
 */
export async function openSsh2(ways: readonly HostSettings[]): Promise<Connection> {
  const clients: Client[] = []
  try {
    for (const settings of ways) {
      const before = clients.at(-1)
      const sock = before ? await forwardOut(before, settings) : proxy(settings)
      clients.push(await logIn(settings, sock))
    }
  } catch (error) {
    for (const client of clients) client.destroy()
    throw error
  }
  return connectionOf(clients, ways.at(-1)!)
}

function connectionOf(clients: readonly Client[], { alias }: HostSettings): Connection {
  const client = clients.at(-1)!
  const lost = Promise.withResolvers<Error>()
  for (const one of clients) {
    one.on('error', (error) => lost.resolve(new TransportError(`${alias}: ${error.message}`)))
    one.on('close', () => lost.resolve(new TransportError(`the connection to ${alias} has broken`)))
  }
  const close = () => clients.toReversed().forEach((one) => one.destroy())
  // One hop that is gone takes the others along.
  void lost.promise.then(close)
  /** Starts a session. The library throws where the connection has gone and nothing has said so yet. */
  const start = <T>(begin: (done: (error: Error | undefined, started: T) => void) => void) =>
    new Promise<T>((resolve, reject) => {
      try {
        begin((error, started) => (error ? reject(notStarted(alias, error)) : resolve(started)))
      } catch (error) {
        const gone = notStarted(alias, error as Error)
        lost.resolve(gone)
        reject(gone)
      }
    })
  const listeners = new Map<number, (socket: Duplex) => void>()
  client.on('tcp connection', ({ destPort }, accept, reject) => {
    const onConnection = listeners.get(destPort)
    if (onConnection) onConnection(accept())
    else reject?.()
  })
  return {
    exec: async (line) => channelOf(await start<ClientChannel>((done) => client.exec(line, done))),

    async upload(from, to, options) {
      const session = await start<SFTPWrapper>((done) => client.sftp(done))
      try {
        await send(session, from, to, options)
      } finally {
        session.end()
      }
    },

    forwardIn: (host, port, onConnection) =>
      new Promise((resolve, reject) =>
        client.forwardIn(host, port, (error, given) => {
          if (error) return reject(new TransportError(`${alias} does not listen for us: ${error.message}`))
          listeners.set(given, onConnection)
          resolve({
            port: given,
            close: () =>
              new Promise<void>((done) => {
                listeners.delete(given)
                client.unforwardIn(host, given, () => done())
              }),
          })
        }),
      ),

    fault: () =>
      Promise.race([lost.promise, new Promise<undefined>((resolve) => setImmediate(resolve, undefined))]),
    lost: lost.promise,
    close,
  }
}

/** The library calls back with an error also when the connection has broken meanwhile: then nothing was started either. */
function notStarted(alias: string, error: Error): NotStartedError {
  const { reason } = error as Error & { reason?: unknown }
  const refused = reason !== undefined || /open failed|channel open failure/i.test(error.message)
  return new (refused ? SessionRefused : NotStartedError)(`${alias} cannot be reached: ${error.message}`, {
    cause: error,
  })
}

function channelOf(channel: ClientChannel): Channel {
  channel.on('error', () => {})
  return {
    stdin: channel.stdin,
    stdout: channel,
    stderr: channel.stderr,
    kill() {
      channel.stdin.end()
      channel.destroy()
    },
  }
}

async function send(
  session: SFTPWrapper,
  from: string,
  to: string,
  { offset, bandwidth, signal }: UploadOptions,
) {
  const handle = await new Promise<Buffer>((resolve, reject) =>
    session.open(to, offset === 0 ? 'w' : 'r+', 0o600, (error, opened) =>
      error ? reject(error) : resolve(opened),
    ),
  )
  await using file = await open(from)
  const writes = new PQueue({ concurrency: WRITES })
  const throttle = createThrottle(bandwidth)
  const broken = Promise.withResolvers<never>()
  broken.promise.catch(() => {})
  session.once('close', () => broken.reject(new Error('the connection has broken')))
  let refused: Error | undefined
  let position = offset
  while (!refused) {
    if (signal.aborted) throw new TransportError('sending was given up')
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(WRITE), 0, WRITE, position)
    if (bytesRead === 0) break
    await Promise.race([throttle.wait(bytesRead), broken.promise])
    const at = position
    position += bytesRead
    const sent = () => write(session, handle, buffer.subarray(0, bytesRead), at)
    void writes.add(() => sent().catch((error: Error) => (refused ??= error)))
    await Promise.race([writes.onSizeLessThan(1), broken.promise])
  }
  // Also after one was refused: once that is said, none is under way that would change the file.
  await Promise.race([writes.onIdle(), broken.promise])
  if (refused) throw refused
  await new Promise<void>((resolve, reject) =>
    session.close(handle, (error) => (error ? reject(error) : resolve())),
  )
}

const write = (session: SFTPWrapper, handle: Buffer, bytes: Buffer, at: number) =>
  new Promise<void>((resolve, reject) =>
    session.write(handle, bytes, 0, bytes.length, at, (error) => (error ? reject(error) : resolve())),
  )

/** A connection of the host before to this one. */
function forwardOut(client: Client, { alias, host, port }: HostSettings): Promise<Duplex> {
  return new Promise((resolve, reject) =>
    client.forwardOut('127.0.0.1', 0, host, port, (error, channel) =>
      error
        ? reject(
            new NotStartedError(`${alias} cannot be reached through the host before it: ${error.message}`),
          )
        : resolve(channel),
    ),
  )
}

function proxy({ proxyCommand }: HostSettings): Duplex | undefined {
  if (proxyCommand === undefined) return undefined
  const child = spawn('/bin/sh', ['-c', `exec ${proxyCommand}`], { stdio: ['pipe', 'pipe', 'ignore'] })
  child.on('error', () => {})
  const stream = Duplex.from({ readable: child.stdout, writable: child.stdin })
  stream.on('close', () => child.kill())
  return stream
}

function logIn(settings: HostSettings, sock: Duplex | undefined): Promise<Client> {
  const { alias, host, port, user } = settings
  const known = readKnownHosts(settings)
  const credentials = findCredentials(settings)
  const client = new ssh2.Client()
  let offered: readonly string[] = []
  return new Promise((resolve, reject) => {
    const give = (error: Error) => {
      client.destroy()
      reject(error)
    }
    const ask = (question: string) =>
      give(new LoginNeeded(`${alias} asks ${JSON.stringify(question)}, which a person must answer`))
    client.once('ready', () => {
      client.removeAllListeners('error')
      client.removeAllListeners('close')
      // A host on the way may break while the next one is opened, which then fails by itself.
      client.on('error', () => {})
      resolve(client)
    })
    client.on('error', (error: Error & { level?: string }) =>
      give(
        error.level === 'client-authentication'
          ? new LoginNeeded(
              `${alias} does not let ${user} in; tried ${credentials.tried.join(', ') || 'nothing, for want of a key'}` +
                `${offered.length > 0 ? `; it takes ${offered.join(', ')}` : ''}` +
                credentials.leftOut.map((what) => `; ${what}`).join(''),
            )
          : new NotStartedError(`${alias} cannot be reached: ${error.message}`, { cause: error }),
      ),
    )
    client.once('close', () => give(new NotStartedError(`${alias} has closed the connection at once`)))
    try {
      client.connect({
        ...(sock ? { sock } : { host, port }),
        username: user,
        readyTimeout: OPEN_LIMIT,
        keepaliveInterval: KEEPALIVE,
        keepaliveCountMax: KEEPALIVES_MISSED,
        agentForward: false,
        algorithms: { serverHostKey: signaturesToAsk(known.lines) as ssh2.ServerHostKeyAlgorithm[] },
        hostVerifier: (key: Buffer) => {
          const fault = checkKey(settings, known, key)
          if (fault) give(fault)
          return !fault
        },
        authHandler: authHandler(credentials, user, ask, (methods) => (offered = methods)),
      })
      // Small messages, such as a key in a shell, leave at once.
      client.setNoDelay(true)
    } catch (error) {
      give(new NotStartedError(`${alias} cannot be reached: ${(error as Error).message}`, { cause: error }))
    }
  })
}
