import { has, isBitmap } from './bitmap.ts'
import type { Pieces } from './pieces.ts'
import { SourceError } from './source.ts'

/*
 * The stream in which a source tells what it holds: the number of pieces (u32, little endian), a bitmap of those it holds, and
 * then the number (u32) of each further piece. It ends when the source holds them all.
 */

/** News of further pieces are gathered, but not for longer than this. Milliseconds. */
export const NEWS_MS = 200
/** Told one by one to every neighbour they would cost more than the pieces: so large a share of the bundle is told together. */
const NEWS_SHARE = 1 / 32
/** Who holds little tells sooner, when it is such a share of that: its neighbours have little else to ask for. */
const EARLY_SHARE = 1 / 4
/** A listener that takes nothing for this many bytes of news is cut off. */
const BACKLOG_MAX = 1 << 20

/** Whether so many pieces that were not told yet are to be told now, of `held` in all and a bundle of `pieces`. */
export function isNewsDue(untold: number, held: number, pieces: number): boolean {
  return held === pieces || untold >= Math.min(pieces * NEWS_SHARE, held * EARLY_SHARE)
}

/** Where one listener's bytes go. */
export type NewsSink = {
  write(data: Buffer): void
  /** Bytes that were written and have not left yet. */
  backlog(): number
  /** `done`: it was told all. */
  end(done: boolean): void
}

/** Tells any number of listeners what a process holds of one bundle. */
export type HoldingsTeller = {
  /** Tells the sink what is held and what comes; returns how to stop. */
  tell(sink: NewsSink): () => void
}

export function holdingsTeller(pieces: Pieces): HoldingsTeller {
  const { layout } = pieces
  const sinks = new Set<NewsSink>()
  let news: number[] = []
  let timer: NodeJS.Timeout | undefined
  let unwatch: (() => void) | undefined

  const leave = (sink: NewsSink) => {
    sinks.delete(sink)
    if (sinks.size > 0) return
    unwatch?.()
    unwatch = undefined
    news = []
  }
  const flush = () => {
    clearTimeout(timer)
    timer = undefined
    const frame = Buffer.alloc(news.length * 4)
    news.forEach((piece, index) => frame.writeUInt32LE(piece, index * 4))
    news = []
    const complete = pieces.heldPieces() === layout.pieces
    for (const sink of [...sinks]) {
      const stuck = sink.backlog() > BACKLOG_MAX
      if (!stuck) sink.write(frame)
      if (!stuck && !complete) continue
      leave(sink)
      sink.end(complete && !stuck)
    }
  }

  return {
    tell(sink) {
      const head = Buffer.alloc(4)
      head.writeUInt32LE(layout.pieces)
      sink.write(Buffer.concat([head, pieces.held]))
      if (pieces.heldPieces() === layout.pieces) {
        sink.end(true)
        return () => {}
      }
      sinks.add(sink)
      unwatch ??= pieces.watch((piece) => {
        news.push(piece)
        if (isNewsDue(news.length, pieces.heldPieces(), layout.pieces)) flush()
        else timer ??= setTimeout(flush, NEWS_MS)
      })
      return () => leave(sink)
    },
  }
}

/** Reads such a stream. */
export type HoldingsReader = {
  push(chunk: Buffer): void
  end(): void
}

/** @throws {SourceError} from `push` and `end`: `protocol` when it cannot be about this bundle, `reset` when it ends early. */
export function holdingsReader(pieces: number, onHeld: (held: number[] | 'all') => void): HoldingsReader {
  const mapBytes = Math.ceil(pieces / 8)
  let pending: Buffer = Buffer.alloc(0)
  let begun = false
  let told = 0

  const readHead = () => {
    if (pending.length < 4 + mapBytes) return
    const map = pending.subarray(4, 4 + mapBytes)
    if (pending.readUInt32LE() !== pieces || !isBitmap(map, pieces)) {
      throw new SourceError('protocol', 'it describes another bundle')
    }
    begun = true
    pending = pending.subarray(4 + mapBytes)
    const held = Array.from({ length: pieces }, (_, piece) => piece).filter((piece) => has(map, piece))
    told = held.length
    onHeld(told === pieces ? 'all' : held)
  }

  return {
    push(chunk) {
      pending = pending.length > 0 ? Buffer.concat([pending, chunk]) : chunk
      if (!begun) readHead()
      if (!begun || pending.length < 4) return
      const news = Array.from({ length: pending.length >> 2 }, (_, index) => pending.readUInt32LE(index * 4))
      pending = pending.subarray(news.length * 4)
      if (news.some((piece) => piece >= pieces)) {
        throw new SourceError('protocol', 'it tells of pieces that do not exist')
      }
      told += news.length
      onHeld(news)
    },
    end() {
      if (told < pieces) throw new SourceError('reset', 'it stopped telling what it holds')
    },
  }
}
