import { NotStartedError } from '../transport.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import PQueue from 'p-queue'
import { reconnectDelay } from '../../policy/reconnect-delay.ts'
import { type Connection, LoginNeeded, SessionRefused } from './connection.ts'

/** Sessions at once on one connection: OpenSSH's server allows 10 by itself, and a person who logs in needs one, too. */
const SESSIONS = 8
/** How often, and after how long at first, a session is asked for again that was refused while none was open: a server closes one late. */
const ASK_AGAIN = 7
const ASK_AGAIN_MS = 30

export type HostLinkOptions = {
  /** Opens a connection. @param attempt counts those that failed, so that of several hosts another one is tried after each */
  open: (attempt: number) => Promise<Connection>
  /** Whether a person has logged in since the last attempt, so that there is no need to wait. */
  isInvited?: () => boolean
  chance?: () => number
}

/** The one connection to a submit node that all who need it share: opened when it is needed, and again after it broke. */
export interface HostLink {
  /**
   * Does something with one session of the connection. With fewer sessions than are wanted, some wait.
   * @throws {NotStartedError} if there is no connection now; the message says when it is tried again
   */
  session<T>(work: (connection: Connection) => Promise<T>, signal: AbortSignal): Promise<T>
  /** The connection itself, for what needs no session. */
  connection(): Promise<Connection>
  close(): void
}

export function hostLink({ open, isInvited = () => false, chance = Math.random }: HostLinkOptions): HostLink {
  const sessions = new PQueue({ concurrency: SESSIONS })
  let current: Promise<Connection> | undefined
  let attempts = 0
  let failures = 0
  let last: Error | undefined
  let nextAt = 0
  let closed = false

  function connect(): Promise<Connection> {
    if (closed) return Promise.reject(new NotStartedError('the factory is stopping'))
    if (current) return current
    const wait = nextAt - performance.now()
    if (last && wait > 0 && !isInvited()) return Promise.reject(postponed(last, wait))
    const opening = open(attempts)
    current = opening
    opening.then(
      (connection) => {
        failures = 0
        last = undefined
        // The next connection may be to a host that allows more.
        sessions.concurrency = SESSIONS
        void connection.lost.then((error) => forget(opening, error, 0))
        if (closed) connection.close()
      },
      (error: Error) => {
        attempts++
        const refused = error instanceof LoginNeeded
        forget(opening, error, reconnectDelay(++failures, refused, chance()))
      },
    )
    return opening
  }

  function forget(which: Promise<Connection>, error: Error, wait: number): void {
    if (current !== which) return
    current = undefined
    last = error
    nextAt = performance.now() + wait
  }

  async function session<T>(work: (connection: Connection) => Promise<T>, signal: AbortSignal): Promise<T> {
    const attempt = async (): Promise<{ done: T } | 'refused'> => {
      for (let asked = 0; ; asked++) {
        try {
          return { done: await work(await connect()) }
        } catch (error) {
          if (!(error instanceof SessionRefused)) throw error
          if (sessions.pending > 1) {
            sessions.concurrency = Math.min(sessions.concurrency, sessions.pending - 1)
            return 'refused'
          }
          if (asked >= ASK_AGAIN) throw error
          await sleep(ASK_AGAIN_MS * 2 ** asked)
        }
      }
    }
    for (;;) {
      const result = await sessions.add(attempt, { signal })
      if (result !== 'refused') return result.done
    }
  }

  return {
    session,
    connection: connect,
    close() {
      closed = true
      void current?.then((connection) => connection.close()).catch(() => {})
    },
  }
}

function postponed(error: Error, wait: number): Error {
  const message = `${error.message} (tries again in ${Math.ceil(wait / 1000)} s)`
  const kind = error instanceof LoginNeeded ? LoginNeeded : NotStartedError
  return new kind(message, { cause: error })
}
