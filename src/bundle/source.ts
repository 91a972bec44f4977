import type { FaultReason } from '../protocol/sources.ts'
import type { Bitmap } from './bitmap.ts'
import type { Layout } from './layout.ts'

/** Which pieces to take: these, or a run of the source's choice among `want`. */
export type Take = { first: number; count: number } | { want: Bitmap; bytes: number }

export type TakeOptions = {
  layout: Layout
  signal: AbortSignal
  /** Called once, when it is known which pieces come. */
  onRun: (first: number, count: number) => void
  /** Called with each piece's bytes as it arrives, unchecked. Few are called before the promises of earlier ones resolve. */
  onPiece: (piece: number, parts: Buffer[]) => Promise<void>
}

/**
 * How a take ended. `busy`: ask again soon. `none`: the source would rather have us ask neighbours.
 */
export type TakeOutcome = 'done' | 'busy' | 'none'

/** One place that pieces of a bundle can come from. All methods throw {@link SourceError}, or the signal's reason. */
export type PieceSource = {
  name: string
  kind: 'manager' | 'neighbour' | 'folder'
  /** The bundle's manifest, as bytes to be checked. */
  manifest(signal: AbortSignal): Promise<Buffer>
  /** Tells of the pieces it holds, and of more as it gets them, until it holds them all. */
  follow(layout: Layout, onHeld: (pieces: number[] | 'all') => void, signal: AbortSignal): Promise<void>
  take(take: Take, options: TakeOptions): Promise<TakeOutcome>
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
