import type { IncomingHttpHeaders } from 'node:http'
import type { Dispatcher } from 'undici'

/** What becomes of an answer's body. What `push` or `end` throws ends the exchange. */
export type BodyReader = {
  push(chunk: Buffer): void
  /** The answer is over; the exchange is as soon as the promise is. */
  end(): Promise<void> | void
}

/** Control of an answer that streams in. */
export type Flow = {
  pause(): void
  resume(): void
  /** Ends the exchange with this error. */
  fail(error: unknown): void
}

/**
 * Sends one request and reads its answer as it comes, without the buffers and turns of a stream: at hundreds of megabytes
 * per second those cost more than the hashing.
 *
 * @param answer called once, with status and headers; says what to do with the body.
 * @throws what the connection, the reader or the signal failed with.
 */
export function exchange(
  dispatcher: Dispatcher,
  request: Dispatcher.DispatchOptions,
  signal: AbortSignal,
  answer: (status: number, headers: IncomingHttpHeaders, flow: Flow) => BodyReader,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let controller: Dispatcher.DispatchController | undefined
    let reader: BodyReader | undefined
    let over = false

    const finish = (settle: () => void) => {
      if (over) return
      over = true
      signal.removeEventListener('abort', abort)
      settle()
    }
    const fail = (error: Error) => {
      finish(() => reject(error))
      controller?.abort(error)
    }
    const abort = () => fail(signal.reason as Error)
    const guarded = (action: () => void) => {
      try {
        action()
      } catch (error) {
        fail(error as Error)
      }
    }

    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort)
    dispatcher.dispatch(request, {
      onRequestStart(started) {
        controller = started
        // It may have been called off while it waited for a connection.
        if (over) started.abort(new Error('called off'))
      },
      onResponseStart(started, status, headers) {
        const flow = { pause: () => started.pause(), resume: () => started.resume(), fail }
        guarded(() => (reader = answer(status, headers, flow)))
      },
      onResponseData(_controller, chunk) {
        guarded(() => reader?.push(chunk))
      },
      onResponseEnd() {
        guarded(() => {
          Promise.resolve(reader?.end()).then(() => finish(resolve), fail)
        })
      },
      onResponseError(_controller, error) {
        fail(error)
      },
    })
  })
}
