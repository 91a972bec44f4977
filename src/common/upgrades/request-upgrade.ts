import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'

/** The server answered a request to upgrade as one that it does not grant. */
export class UpgradeRefused extends Error {
  override readonly name = 'UpgradeRefused'
  /** HTTP status, and the beginning of the body. */
  readonly status: number
  readonly body: string

  constructor(status: number, body: string) {
    super(`it answered ${status}: ${body}`)
    this.status = status
    this.body = body
  }
}

/** Longest body of a refusal that is kept, characters. */
const BODY_MAX = 4_000

/**
 * Has a connection of its own become what `protocol` names.
 * @throws {UpgradeRefused}, undici's errors, or the signal's reason
 */
export function requestUpgrade(
  dispatcher: Dispatcher,
  protocol: string,
  request: Pick<Dispatcher.DispatchOptions, 'origin' | 'path' | 'headers'>,
  signal?: AbortSignal,
): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error)
    let controller: Dispatcher.DispatchController | undefined
    let status = 0
    const settle = (action: () => void) => {
      signal?.removeEventListener('abort', abort)
      action()
    }
    const fail = (error: Error) => {
      settle(() => reject(error))
      controller?.abort(error)
    }
    const abort = () => fail(signal!.reason as Error)
    const refused = (body: string) => fail(new UpgradeRefused(status, body.slice(0, BODY_MAX)))
    signal?.addEventListener('abort', abort)
    dispatcher.dispatch(
      { ...request, method: 'GET', upgrade: protocol },
      {
        onRequestStart(started) {
          controller = started
          // It may have been called off while it waited for a connection.
          if (signal?.aborted) abort()
        },
        onRequestUpgrade: (_controller, _status, _headers, socket) => settle(() => resolve(socket)),
        onResponseStart: (_controller, code) => void (status = code),
        // Its beginning says enough.
        onResponseData: (_controller, chunk) => refused(chunk.toString()),
        onResponseEnd: () => refused('nothing'),
        onResponseError: (_controller, error) => fail(error),
      },
    )
  })
}
