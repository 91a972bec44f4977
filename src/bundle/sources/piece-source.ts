import type { FaultReason } from '../../protocol/piece-sources.ts'
import type { Bitmap } from '../format/bitmap.ts'
import type { PieceLayout } from '../format/piece-layout.ts'
import type { SourceKind } from '../policy/piece-picker.ts'
import type { BufferPool } from '../store/buffer-pool.ts'

/** Which pieces to take: these, or a run of the source's choice among `want`. */
export type PieceRequest = { first: number; count: number } | { want: Bitmap; bytes: number }

export type PieceRequestOptions = {
  layout: PieceLayout
  signal: AbortSignal
  /** Called once, when it is known which pieces come. */
  onRun: (first: number, count: number) => void
  /** Where the buffers of pieces come from. */
  buffers: BufferPool
  /**
   * Called with each piece's bytes as it arrives, unchecked. Few are called before the promises of earlier ones resolve; then the
   * bytes may be overwritten.
   */
  onPiece: (piece: number, bytes: Buffer) => Promise<void>
}

/**
 * How a take ended. `busy`: ask again soon. `none`: the source would rather have us ask peers.
 */
export type PieceRequestOutcome = 'done' | 'busy' | 'none'

/** One place that pieces of a bundle can come from. All methods throw {@link SourceError}, or the signal's reason. */
export type PieceSource = {
  name: string
  kind: SourceKind
  /** The bundle's manifest, as bytes to be checked. */
  manifest(signal: AbortSignal): Promise<Buffer>
  /** Tells of the pieces it holds, and of more as it gets them, until it holds them all. */
  follow(layout: PieceLayout, onHeld: (pieces: number[] | 'all') => void, signal: AbortSignal): Promise<void>
  take(take: PieceRequest, options: PieceRequestOptions): Promise<PieceRequestOutcome>
  close(): Promise<void>
}

/** A source failed; it is left out for this reason. */
export class SourceError extends Error {
  override readonly name = 'SourceError'
  readonly reason: FaultReason

  constructor(reason: FaultReason, detail: string, options?: ErrorOptions) {
    super(detail, options)
    this.reason = reason
  }
}
