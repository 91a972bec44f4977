import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { CHANNEL, frameReader } from '../protocol/channel.ts'
import type { FrameBody } from '../protocol/channel.ts'
import { SourceError } from './source.ts'

/** Longest pause before an answer and within it, milliseconds: a source that has too much to do says so sooner. */
const PAUSE_MS = 8_000
/** Longest body of a refusal to open a channel that is kept, characters. */
const REFUSAL_MAX = 500

/** Control of a request that is being answered. */
export type Flow = {
  /** Holds the answer back. */
  pause: () => void
  resume: () => void
  /** It has been answered: the channel is free for the next one. */
  done: () => void
  /** Ends the request with this error, and the channel. */
  fail: (error: unknown) => void
}

export type ChannelRequest = {
  frame: Buffer
  signal: AbortSignal
  /** There may be nothing to answer for long. */
  mayPause?: boolean
  /** Called with the head of each frame of the answer. What it or the bodies throw ends the channel. */
  answer(kind: number, first: number, second: number, flow: Flow): FrameBody
}

/** A worker's end of a channel (see `protocol/channel.ts`). */
export type Channel = {
  /**
   * Sends a request; resolves when it has been answered. One at a time.
   * @throws {SourceError} `reset`, `stalled`, `protocol`; what its answer failed with; the signal's reason.
   */
  request(request: ChannelRequest): Promise<void>
  isOpen(): boolean
  /** Whether it is open and free for a request. */
  isIdle(): boolean
  close(): void
}

/** Opens a channel on a connection of its own. Throws {@link SourceError} `refused`, undici's errors, or the signal's reason. */
export function openChannel(
  dispatcher: Dispatcher,
  request: Pick<Dispatcher.DispatchOptions, 'origin' | 'path' | 'headers'>,
  signal: AbortSignal,
  pauseMs = PAUSE_MS,
): Promise<Channel> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error)
    let controller: Dispatcher.DispatchController | undefined
    let refusal = ''
    const abort = () => {
      controller?.abort(signal.reason as Error)
      settle(() => reject(signal.reason as Error))
    }
    const settle = (action: () => void) => {
      signal.removeEventListener('abort', abort)
      action()
    }
    signal.addEventListener('abort', abort)
    dispatcher.dispatch(
      { ...request, method: 'GET', upgrade: CHANNEL },
      {
        onRequestStart(started) {
          controller = started
          // It may have been called off while it waited for a connection.
          if (signal.aborted) started.abort(signal.reason as Error)
        },
        onRequestUpgrade: (_controller, _status, _headers, socket) =>
          settle(() => resolve(channelOn(socket, pauseMs))),
        onResponseStart: (_controller, status) => void (refusal = `it answered ${status}: `),
        onResponseData(_controller, chunk) {
          if (refusal.length < REFUSAL_MAX) refusal += chunk.toString()
        },
        onResponseEnd: () => settle(() => reject(new SourceError('refused', refusal.slice(0, REFUSAL_MAX)))),
        onResponseError: (_controller, error) => settle(() => reject(error)),
      },
    )
  })
}

type UnderWay = { request: ChannelRequest; flow: Flow }

function channelOn(socket: Duplex, pauseMs: number): Channel {
  let current: UnderWay | undefined

  const reader = frameReader((kind, first, second) => {
    if (!current) throw new SourceError('protocol', 'it sends what it was not asked for')
    return current.request.answer(kind, first, second, current.flow)
  })
  const fail = (error: unknown) => {
    current?.flow.fail(error)
    socket.destroy()
  }
  const watch = setTimeout(() => {
    // Held back by us, it can send nothing.
    if (!current || current.request.mayPause === true || socket.isPaused()) watch.refresh()
    else fail(new SourceError('stalled', `it sent nothing for ${pauseMs} ms`))
  }, pauseMs).unref()
  const begin = (request: ChannelRequest, resolve: () => void, reject: (error: Error) => void) => {
    const { frame, signal } = request
    const abort = () => fail(signal.reason)
    const settle = (action: () => void) => {
      if (current?.flow !== flow) return
      current = undefined
      signal.removeEventListener('abort', abort)
      action()
    }
    const flow: Flow = {
      pause: () => socket.pause(),
      resume: () => socket.resume(),
      done: () => settle(resolve),
      fail(error) {
        settle(() => reject(error as Error))
        socket.destroy()
      },
    }
    current = { request, flow }
    watch.refresh()
    signal.addEventListener('abort', abort)
    if (signal.aborted) abort()
    else socket.write(frame)
  }

  socket.on('data', (chunk: Buffer) => {
    watch.refresh()
    try {
      reader.push(chunk)
    } catch (error) {
      fail(error)
    }
  })
  socket.on('error', fail)
  socket.on('end', () => fail(new SourceError('reset', 'it closed the connection')))
  socket.on('close', () => {
    clearTimeout(watch)
    fail(new SourceError('reset', 'it closed the connection'))
  })

  return {
    request: (request) => new Promise((resolve, reject) => begin(request, resolve, reject)),
    isOpen: () => !socket.destroyed,
    isIdle: () => !current && !socket.destroyed,
    close: () => socket.destroy(),
  }
}
