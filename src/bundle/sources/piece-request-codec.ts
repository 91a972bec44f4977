import { frame, noBody, wholeBody } from '../../protocol/channels/frames.ts'
import { FrameKind } from '../../protocol/channels/piece-frames.ts'
import type { FrameBody } from '../../protocol/channels/frames.ts'
import { add, bitmap, has, isBitmap } from '../format/bitmap.ts'
import type { ChannelRequest, AnswerFlow } from './piece-channel.ts'
import { splitPieces } from './split-pieces.ts'
import type { PieceLayout } from '../format/piece-layout.ts'
import { SourceError } from './piece-source.ts'
import type { PieceRequest, PieceRequestOptions, PieceRequestOutcome } from './piece-source.ts'

/*
 * What a worker asks of a source over a channel, and how it reads the answers. Nothing that comes is believed.
 */

/** Longest text of a refusal, bytes. */
const REFUSAL_MAX = 4 << 10
/** Pieces of one answer that may be on their way to the disk before it is held back. */
const STORING_MAX = 4

/** A request for pieces. `onOutcome` is called before it is done. */
export function piecesRequest(
  take: PieceRequest,
  options: PieceRequestOptions,
  onOutcome: (outcome: PieceRequestOutcome) => void,
): ChannelRequest {
  let answered = false
  const ends = (outcome: PieceRequestOutcome, flow: AnswerFlow) =>
    noBody(() => {
      onOutcome(outcome)
      flow.done()
    })
  return {
    frame:
      'want' in take
        ? frame(FrameKind.ANY, take.bytes, take.want.length, take.want)
        : frame(FrameKind.RUN, take.first, take.count),
    signal: options.signal,
    answer(kind, first, second, flow) {
      if (answered) throw new SourceError('protocol', 'it answers twice')
      answered = kind !== FrameKind.REFUSED
      if (kind === FrameKind.RUN) return runBody(take, { first, count: second }, options, flow)
      if (kind === FrameKind.NONE) return ends('none', flow)
      if (kind === FrameKind.BUSY) return ends('busy', flow)
      return refusal(kind, second)
    },
    isAnswered: () => answered,
  }
}

/** Takes in the pieces of an answer; holds it back while they cannot be stored as fast as they come. */
function runBody(
  take: PieceRequest,
  run: { first: number; count: number },
  { layout, buffers, onRun, onPiece }: PieceRequestOptions,
  flow: AnswerFlow,
): FrameBody {
  if (!mayCome(take, run, layout))
    throw new SourceError('protocol', 'it sends pieces that were not asked for')
  onRun(run.first, run.count)
  const storing = new Set<Promise<void>>()
  const push = splitPieces(layout, run, buffers, (piece, bytes) => {
    const stored = onPiece(piece, bytes)
    storing.add(stored)
    if (storing.size === STORING_MAX) flow.pause()
    stored.then(
      () => {
        storing.delete(stored)
        buffers.give(bytes)
        if (storing.size === STORING_MAX - 1) flow.resume()
      },
      (error: unknown) => flow.fail(error),
    )
  })
  return {
    length: layout.bytes(run.first, run.count),
    push,
    end() {
      flow.expect('nothing')
      Promise.all(storing).then(flow.done, flow.fail)
    },
  }
}

/** Whether the run that a source announces is one that was asked for. */
function mayCome(
  take: PieceRequest,
  { first, count }: { first: number; count: number },
  layout: PieceLayout,
): boolean {
  if (!('want' in take)) return first === take.first && count === take.count
  if (!(count > 0 && first + count <= layout.pieces)) return false
  for (let piece = first; piece < first + count; piece++) if (!has(take.want, piece)) return false
  return true
}

/** A request to be told which of so many pieces the source holds, and of more as it gets them, until it holds all. */
export function haveRequest(
  pieces: number,
  onHeld: (held: number[] | 'all') => void,
  signal: AbortSignal,
): ChannelRequest {
  const told = bitmap(pieces)
  let left = pieces
  let repeats = 0
  let begun = false
  const tell = (held: number[], flow: AnswerFlow) => {
    // What it gets just as it is asked, it tells twice; but not again and again.
    const news = held.filter((piece) => !has(told, piece))
    repeats += held.length - news.length
    if (repeats > pieces) throw new SourceError('protocol', 'it tells the same again and again')
    for (const piece of news) add(told, piece)
    left -= news.length
    onHeld(news.length === pieces ? 'all' : news)
    flow.expect('later')
    if (left === 0) flow.done()
  }
  return {
    frame: frame(FrameKind.FOLLOW),
    signal,
    answer(kind, first, second, flow) {
      if (kind === FrameKind.HELD && !begun) {
        begun = true
        if (first !== pieces || second !== Math.ceil(pieces / 8)) throw notOurs()
        return wholeBody(second, (map) => {
          if (!isBitmap(map, pieces)) throw notOurs()
          const held = Array.from({ length: pieces }, (_, piece) => piece).filter((piece) => has(map, piece))
          tell(held, flow)
        })
      }
      if (kind !== FrameKind.NEWS || !begun) return refusal(kind, second)
      if (second === 0 || second > 4 * pieces || second % 4 > 0) throw notOurs()
      return wholeBody(second, (news) => {
        const held = Array.from({ length: second / 4 }, (_, index) => news.readUInt32LE(index * 4))
        if (held.some((piece) => piece >= pieces)) throw notOurs()
        tell(held, flow)
      })
    },
    isAnswered: () => begun,
  }
}

function notOurs(): SourceError {
  return new SourceError('protocol', 'it describes another bundle')
}

/** Reads why a request is refused, if that is what the frame is. */
function refusal(kind: number, length: number): FrameBody {
  if (kind !== FrameKind.REFUSED || length > REFUSAL_MAX)
    throw new SourceError('protocol', 'it sends what is no answer')
  return wholeBody(length, (text) => {
    throw new SourceError('refused', `it answered: ${text.toString()}`.slice(0, 500))
  })
}
