import type { Layout } from './layout.ts'
import { SourceError } from './source.ts'

/** Cuts a stream of bytes that is to be a run of pieces. */
export type Cutter = {
  /** Takes the next bytes; calls back with each piece that they complete. */
  push(chunk: Buffer): void
  /** The stream is over. */
  end(): void
}

/** @throws {SourceError} `protocol`, from `push` and `end`, when there are more or fewer bytes than the run has. */
export function cutPieces(
  layout: Layout,
  run: { first: number; count: number },
  onPiece: (piece: number, parts: Buffer[]) => void,
): Cutter {
  const end = run.first + run.count
  let piece = run.first
  let parts: Buffer[] = []
  let missing = layout.place(piece).length
  return {
    push(chunk) {
      for (let rest = chunk; rest.length > 0;) {
        if (piece === end) throw new SourceError('protocol', 'it sent more than it announced')
        const part = rest.subarray(0, missing)
        rest = rest.subarray(part.length)
        parts.push(part)
        missing -= part.length
        if (missing > 0) return
        onPiece(piece, parts)
        parts = []
        piece++
        if (piece < end) missing = layout.place(piece).length
      }
    },
    end() {
      if (piece < end) throw new SourceError('protocol', 'it sent less than it announced')
    },
  }
}
