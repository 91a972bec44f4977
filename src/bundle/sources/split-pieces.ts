import type { PieceLayout } from '../format/piece-layout.ts'
import type { BufferPool } from '../store/buffer-pool.ts'

/**
 * Cuts the bytes of a run of pieces, as they come, into pieces. The caller sees to it that they are no more than the
 * run has.
 *
 * @param buffers gives the buffer of each piece
 * @returns copies the next bytes; calls `onPiece` with each piece that they complete.
 */
export function splitPieces(
  layout: PieceLayout,
  run: { first: number; count: number },
  buffers: BufferPool,
  onPiece: (piece: number, bytes: Buffer) => void,
): (chunk: Buffer) => void {
  let piece = run.first
  let bytes: Buffer | undefined
  let filled = 0
  return (chunk) => {
    for (let from = 0; from < chunk.length;) {
      bytes ??= buffers.take(layout.place(piece).length)
      const copied = chunk.copy(bytes, filled, from)
      from += copied
      filled += copied
      if (filled < bytes.length) return
      onPiece(piece, bytes)
      piece++
      bytes = undefined
      filled = 0
    }
  }
}
