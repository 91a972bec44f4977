import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { frameReader } from '../../protocol/channels/frames.ts'
import { CHANNEL } from '../../protocol/channels/piece-frames.ts'
import type { FrameBody } from '../../protocol/channels/frames.ts'
import { requestUpgrade, UpgradeRefused } from '../../common/upgrades/request-upgrade.ts'
import { freeNow } from './free-now.ts'
import { SourceError } from './piece-source.ts'

/**
 * Longest pause before an answer and within it, milliseconds: a source that has too much to do says so sooner. A channel that
 * is not used for so long is closed.
 */
const PAUSE_MS = 8_000
/** Longest body of a refusal to open a channel that is kept, characters. */
const REFUSAL_MAX = 500

type Due = 'soon' | 'later' | 'nothing'

/** Control of a request that is being answered. */
export type AnswerFlow = {
  /** Holds the answer back. */
  pause: () => void
  resume: () => void
  /** What the source is to send now: something soon, something when there is news, or nothing more. */
  expect: (what: Due) => void
  /** It has been answered: the channel is free for the next one. */
  done: () => void
  /** Ends the request with this error, and the channel. */
  fail: (error: unknown) => void
}

export type ChannelRequest = {
  frame: Buffer
  signal: AbortSignal
  /** Called with the head of each frame of the answer. What it or the bodies throw ends the channel. */
  answer(kind: number, first: number, second: number, flow: AnswerFlow): FrameBody
  /** Whether an answer has begun that is no refusal: it must not be asked again. */
  isAnswered(): boolean
}

/** A worker's end of a channel (see `protocol/channels/piece-frames.ts`). */
export type PieceChannel = {
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
export async function openPieceChannel(
  dispatcher: Dispatcher,
  request: Pick<Dispatcher.DispatchOptions, 'origin' | 'path' | 'headers'>,
  signal: AbortSignal,
  pauseMs = PAUSE_MS,
): Promise<PieceChannel> {
  try {
    return channelOn(await requestUpgrade(dispatcher, CHANNEL, request, signal), pauseMs)
  } catch (error) {
    if (error instanceof UpgradeRefused)
      throw new SourceError('refused', error.message.slice(0, REFUSAL_MAX), { cause: error })
    throw error
  }
}

type UnderWay = { request: ChannelRequest; flow: AnswerFlow; due: Due }

function channelOn(socket: Duplex, pauseMs: number): PieceChannel {
  let current: UnderWay | undefined
  let chunks = 0

  const reader = frameReader((kind, first, second) => {
    if (!current) throw new SourceError('protocol', 'it sends what it was not asked for')
    return current.request.answer(kind, first, second, current.flow)
  })
  const fail = (error: unknown) => {
    current?.flow.fail(error)
    socket.destroy()
  }
  /** What has come in full can still be taken in. */
  const lost = (error: unknown) => {
    if (current?.due === 'nothing') socket.destroy()
    else fail(error)
  }
  const look = (then: UnderWay | undefined, chunksThen: number) => {
    // Held back by us, it can send nothing.
    const isDue = then?.due === 'soon' && !socket.isPaused()
    if (current !== then || chunks !== chunksThen || (then && !isDue)) return watch.refresh()
    return fail(new SourceError('stalled', `it sent nothing for ${pauseMs} ms`))
  }
  // A process that was stopped finds its timer run out and the answer there: it looks for that first.
  const watch = setTimeout(() => setImmediate(look, current, chunks), pauseMs).unref()

  const begin = (request: ChannelRequest, resolve: () => void, reject: (error: Error) => void) => {
    const { frame, signal } = request
    const abort = () => fail(signal.reason)
    const settle = (action: () => void) => {
      if (current !== underWay) return
      current = undefined
      signal.removeEventListener('abort', abort)
      action()
    }
    const flow: AnswerFlow = {
      pause: () => socket.pause(),
      resume() {
        watch.refresh()
        socket.resume()
      },
      expect: (what) => void (underWay.due = what),
      done: () => settle(resolve),
      fail(error) {
        settle(() => reject(error as Error))
        socket.destroy()
      },
    }
    const underWay: UnderWay = { request, flow, due: 'soon' }
    current = underWay
    signal.addEventListener('abort', abort)
    if (signal.aborted) return abort()
    if (socket.destroyed) return fail(closed())
    watch.refresh()
    socket.write(frame)
    return undefined
  }

  socket.on('data', (chunk: Buffer) => {
    chunks++
    watch.refresh()
    try {
      reader.push(chunk)
    } catch (error) {
      fail(error)
    }
    freeNow(chunk)
  })
  socket.on('error', lost)
  socket.on('end', () => lost(closed()))
  socket.on('close', () => {
    clearTimeout(watch)
    lost(closed())
  })

  return {
    request: (request) => new Promise((resolve, reject) => begin(request, resolve, reject)),
    isOpen: () => !socket.destroyed,
    isIdle: () => !current && !socket.destroyed,
    close: () => socket.destroy(),
  }
}

function closed(): SourceError {
  return new SourceError('reset', 'it closed the connection')
}
