import { frame } from '../../protocol/channels/frames.ts'
import { FrameKind } from '../../protocol/channels/piece-frames.ts'
import type { StoredPieces } from '../store/stored-pieces.ts'

/** News of further pieces are gathered, but not for longer than this. Milliseconds. */
export const HAVE_INTERVAL_MS = 200
/** Told one by one to every peer they would cost more than the pieces: so large a share of the bundle is told together. */
const NEWS_SHARE = 1 / 32
/**
 * Who holds little, or lacks little, tells sooner: when it is such a share of that. Its peers have little else to ask for,
 * or wait for nothing but these.
 */
const SOON_SHARE = 1 / 4
/** A listener that takes nothing for this many bytes of news is cut off. */
const BACKLOG_MAX = 1 << 20

/** Whether so many pieces that were not told yet are to be told now, of `held` in all and a bundle of `pieces`. */
export function isHaveDue(untold: number, held: number, pieces: number): boolean {
  return untold >= Math.min(pieces * NEWS_SHARE, held * SOON_SHARE, (pieces - held) * SOON_SHARE)
}

/** Where one listener's bytes go. */
export type HaveListener = {
  write(data: Buffer): void
  /** Bytes that were written and have not left yet. */
  backlog(): number
  /** `done`: it was told all. */
  end(done: boolean): void
}

/** Tells any number of listeners what a process holds of one bundle. */
export type HaveBroadcast = {
  /** Tells the sink what is held and what comes; returns how to stop. */
  tell(sink: HaveListener): () => void
}

export function createHaveBroadcast(pieces: StoredPieces): HaveBroadcast {
  const { layout } = pieces
  const sinks = new Set<HaveListener>()
  let news: number[] = []
  let timer: NodeJS.Timeout | undefined
  let unwatch: (() => void) | undefined

  const leave = (sink: HaveListener) => {
    sinks.delete(sink)
    if (sinks.size > 0) return
    unwatch?.()
    unwatch = undefined
    clearTimeout(timer)
    timer = undefined
    news = []
  }
  const flush = () => {
    clearTimeout(timer)
    timer = undefined
    const numbers = Buffer.alloc(news.length * 4)
    news.forEach((piece, index) => numbers.writeUInt32LE(piece, index * 4))
    news = []
    const told = frame(FrameKind.NEWS, 0, numbers.length, numbers)
    const complete = pieces.heldPieces() === layout.pieces
    for (const sink of [...sinks]) {
      const stuck = sink.backlog() > BACKLOG_MAX
      if (!stuck) sink.write(told)
      if (!stuck && !complete) continue
      leave(sink)
      sink.end(complete && !stuck)
    }
  }

  return {
    tell(sink) {
      sink.write(frame(FrameKind.HELD, layout.pieces, pieces.held.length, pieces.held))
      if (pieces.heldPieces() === layout.pieces) {
        sink.end(true)
        return () => {}
      }
      sinks.add(sink)
      unwatch ??= pieces.watch((piece) => {
        news.push(piece)
        if (isHaveDue(news.length, pieces.heldPieces(), layout.pieces)) flush()
        else timer ??= setTimeout(flush, HAVE_INTERVAL_MS)
      })
      return () => leave(sink)
    },
  }
}
