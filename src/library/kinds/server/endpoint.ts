import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { buildConnector, type Dispatcher, Pool } from 'undici'
import type { ServerSetup } from '../../../protocol/contexts/context.ts'
import { pathsIn } from '../../../protocol/contexts/placeholders.ts'
import { ServerError } from './http-request.ts'
import { listenersAt, socketsOf } from './listening-sockets.ts'

/** Another program listens where the server should. */
export class PortTakenError extends ServerError {
  override name = 'PortTakenError'
}

/** Where a server is to listen, and how only that server is spoken to. */
export interface Endpoint extends AsyncDisposable {
  /** Values for the placeholders of its command. */
  readonly words: Readonly<Record<string, string>>
  /** Variables for its process. */
  readonly env: Readonly<Record<string, string>>
  /** Opens connections to the server, which is the process `pid` or one that it has started. */
  open(pid: number, options: Pool.Options): Dispatcher
}

/** The longest path that a socket of a filesystem may have everywhere, bytes. */
const LONGEST_SOCKET_PATH = 100

/** A place for a new server, of the kind that its command asks for: a socket that only this user can reach, or a port. */
export async function openEndpoint({ command, secret }: ServerSetup): Promise<Endpoint> {
  const place = pathsIn(command).includes('socket') ? await openSocketPlace() : await openPortPlace()
  if (!secret) return { ...place, env: {} }
  const key = randomBytes(32).toString('hex')
  const { variable, header } = secret
  const shown = { [header]: header === 'authorization' ? `Bearer ${key}` : key }
  return {
    ...place,
    env: { [variable]: key },
    open: (pid, options) => place.open(pid, options).compose(withHeaders(shown)),
  }
}

type Place = Omit<Endpoint, 'env' | 'open'> & { open(pid: number, options: Pool.Options): Pool }

async function openSocketPlace(): Promise<Place> {
  const inTmp = path.join(tmpdir(), 'server-XXXXXX', 'socket').length <= LONGEST_SOCKET_PATH
  // Made with mode 0700, so no other user can reach the socket, whatever mode the server gives it.
  const folder = await mkdtemp(path.join(inTmp ? tmpdir() : '/tmp', 'server-'))
  const socketPath = path.join(folder, 'socket')
  return {
    words: { socket: socketPath },
    open: (_, options) => new Pool('http://localhost', { ...options, connect: { socketPath } }),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  }
}

async function openPortPlace(): Promise<Place> {
  const port = await freePort()
  return {
    words: { port: String(port) },
    open: (pid, options) =>
      new Pool(`http://127.0.0.1:${port}`, { ...options, connect: connectToOwn(port, pid) }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}

/** A port that was free a moment ago. Should another program take it first, {@link connectToOwn} notices. */
async function freePort(): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  listener.close()
  await once(listener, 'close')
  return port
}

/**
 * Connects to a port only if its listener belongs to this process or its descendants. It looks before and after: a listener that
 * is there both times has had the port all the while, so the connection is one to it.
 */
function connectToOwn(port: number, pid: number): buildConnector.connector {
  const connect = buildConnector({})
  const own = new Set<string>()
  const look = () => ownListeners(port, pid, own)
  return (options, callback) => {
    const fail = (error: unknown) => callback(error as Error, null)
    const connectAfter = (before: string[]) => {
      // Nothing is even connected to that may begin to listen in between.
      if (before.length === 0) return fail(new ServerError(`the server does not listen at port ${port}`))
      connect(options, (...[error, socket]) => {
        if (error) return fail(error)
        look().then(
          (after) => {
            if (after.some((inode) => before.includes(inode))) return callback(null, socket)
            socket.destroy()
            fail(new ServerError(`the server left port ${port} while it was connected to`))
          },
          (failure: unknown) => {
            socket.destroy()
            fail(failure)
          },
        )
      })
    }
    look().then(connectAfter, fail)
  }
}

/** The inodes of the port's listeners. @throws {PortTakenError} if one of them is another program's */
async function ownListeners(port: number, pid: number, known: Set<string>): Promise<string[]> {
  const listeners = await listenersAt(port).catch((error: Error) => {
    throw new ServerError(
      `this node does not tell who listens at port ${port} (${error.message}): have the server listen at a {{ socket }}`,
    )
  })
  if (listeners.some(({ inode }) => !known.has(inode))) {
    for (const inode of await socketsOf(pid)) known.add(inode)
  }
  const stranger = listeners.find(({ inode }) => !known.has(inode))
  if (!stranger) return listeners.map(({ inode }) => inode)
  throw new PortTakenError(
    `port ${port} is used by another program, of user ${stranger.uid}, or the server was started so that it no longer ` +
      'belongs to its command: have it stay in the foreground, or listen at a {{ socket }}',
  )
}

function withHeaders(more: Record<string, string>): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) => {
    const headers = { ...(options.headers as Record<string, string> | undefined), ...more }
    return dispatch({ ...options, headers }, handler)
  }
}
