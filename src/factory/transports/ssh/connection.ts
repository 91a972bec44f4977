import type { Duplex, Readable, Writable } from 'node:stream'
import { NotStartedError } from '../transport.ts'

/** A program at the far end, with its standard streams. */
export interface Channel {
  stdin: Writable
  /** Both outputs end, or are destroyed, when the program has ended or the connection has broken. */
  stdout: Readable
  stderr: Readable
  /** Ends the program, as far as the far end lets us, and the channel in any case. */
  kill(): void
}

export interface UploadOptions {
  offset: number
  /** Most bytes a second. Default: no limit. */
  bandwidth?: number | undefined
  signal: AbortSignal
}

/** Listens at the far end. */
export interface FarListener {
  /** The port it got. */
  port: number
  close(): Promise<void>
}

/** One way to a submit node that has been opened, with a person's login or without. */
export interface Connection {
  /**
   * Starts a line of the user's login shell, whichever that is.
   * @throws {NotStartedError} if it has not been started, {@link SessionRefused} if that is for the number of sessions
   */
  exec(line: string): Promise<Channel>
  /** Sends a file from an offset on, to the same offset of a file at the far end, by SFTP. */
  upload(from: string, to: string, options: UploadOptions): Promise<void>
  /**
   * Has the far end listen, and takes the connections that come in.
   * @param host the far end's own address to listen at; most servers allow its loopback only
   * @param port 0 takes a free one
   */
  forwardIn(host: string, port: number, onConnection: (socket: Duplex) => void): Promise<FarListener>
  /** Why it cannot be used any more, as far as can be found out now; undefined if it can. */
  fault(): Promise<Error | undefined>
  /** Resolves, with the reason, once it cannot be used any more. */
  readonly lost: Promise<Error>
  close(): void
}

/** The server has as many sessions open on this connection as it allows. */
export class SessionRefused extends NotStartedError {
  override readonly name: string = 'SessionRefused'
}

/** Only a person can go on: the message says with what. */
export class LoginNeeded extends NotStartedError {
  override readonly name: string = 'LoginNeeded'
}

/** Whether something failed because only a person can go on. */
export function needsLogin(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if (cause instanceof LoginNeeded) return true
  return false
}
