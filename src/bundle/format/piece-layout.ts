import type { Manifest } from '../../protocol/bundle.ts'

/** Where one piece lies. */
export type PiecePlace = {
  /** Index of its file in the manifest. */
  file: number
  /** Where it begins in that file, bytes. */
  offset: number
  /** Bytes. */
  length: number
  sha256: string
}

/** The pieces of a bundle numbered through all its files, in the manifest's order. */
export type PieceLayout = {
  manifest: Manifest
  /** How many pieces there are. */
  pieces: number
  /** The number of each file's first piece, and at the end the number of all pieces. */
  firstOf: number[]
  place(piece: number): PiecePlace
  /** Bytes of `count` pieces from `first` on. */
  bytes(first: number, count: number): number
}

/** Numbers the pieces of a manifest that {@link parseManifest} has checked. */
export function pieceLayoutOf(manifest: Manifest): PieceLayout {
  const firstOf = [0]
  for (const file of manifest.files) firstOf.push(firstOf.at(-1)! + file.pieces.length)
  const pieces = firstOf.at(-1)!
  const fileOf = new Uint32Array(pieces)
  manifest.files.forEach((_, file) => fileOf.fill(file, firstOf[file], firstOf[file + 1]))

  const place = (piece: number): PiecePlace => {
    if (!(piece >= 0 && piece < pieces)) throw new RangeError(`there is no piece ${piece} of ${pieces}`)
    const file = fileOf[piece]!
    const within = piece - firstOf[file]!
    const { size, pieceSize, pieces: hashes } = manifest.files[file]!
    const offset = within * pieceSize
    return { file, offset, length: Math.min(pieceSize, size - offset), sha256: hashes[within]! }
  }
  const bytes = (first: number, count: number): number => {
    let sum = 0
    for (let piece = first; piece < first + count; piece++) sum += place(piece).length
    return sum
  }
  return { manifest, pieces, firstOf, place, bytes }
}
