import type { PieceLayout } from '../format/piece-layout.ts'

/**
 * Cuts the bytes of a run of pieces, as they come, into pieces. The caller sees to it that they are no more than the
 * run has.
 *
 * @returns takes the next bytes; calls `onPiece` with each piece that they complete.
 */
export function splitPieces(
  layout: PieceLayout,
  run: { first: number; count: number },
  onPiece: (piece: number, parts: Buffer[]) => void,
): (chunk: Buffer) => void {
  let piece = run.first
  let parts: Buffer[] = []
  let missing = layout.place(piece).length
  return (chunk) => {
    for (let rest = chunk; rest.length > 0;) {
      const part = rest.subarray(0, missing)
      rest = rest.subarray(part.length)
      parts.push(part)
      missing -= part.length
      if (missing > 0) return
      onPiece(piece, parts)
      parts = []
      piece++
      if (piece < run.first + run.count) missing = layout.place(piece).length
    }
  }
}
