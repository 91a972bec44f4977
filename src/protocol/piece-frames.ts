/*
 * A channel: one connection over which a worker gets pieces of one bundle from a source. A file has hundreds of pieces, each
 * as soon as it can be passed on; an HTTP request for each cost both sides more than the pieces.
 *
 * It is opened by `GET /v1/pieces/:bundle` with `upgrade: gleaner-pieces`, authorised as the other routes of a source are.
 * From then on both sides send frames: three numbers (u32, little endian), the first of which is the frame's kind, and bytes.
 *
 *   worker  RUN      first   count    asks for those pieces
 *           ANY      most    length   asks for a run of the source's choice, of at most so many bytes, among the pieces in the
 *                                     bitmap that follows, of so many bytes; those it has sent least often first
 *           FOLLOW   0       0        asks what the source holds
 *   source  RUN      first   count    pieces; their bytes follow, one piece after the other
 *           NONE     0       0        it has given them all away before: ask peers
 *           BUSY     0       0        ask again soon
 *           HELD     pieces  length   of so many pieces it holds those in the bitmap that follows
 *           NEWS     0       length   and now these too: their numbers follow, u32
 *           REFUSED  0       length   not to be had here; so many bytes of text say why
 *
 * Piece i is bit i % 8 of byte i / 8 of a bitmap. One frame answers a RUN or ANY; a FOLLOW is answered until the source has
 * told of all pieces. A worker asks again when it has its answer; whatever else comes ends the channel.
 */

/** What the `upgrade` header says. */
export const CHANNEL = 'gleaner-pieces'

export const FrameKind = {
  RUN: 1,
  ANY: 2,
  FOLLOW: 3,
  NONE: 4,
  BUSY: 5,
  HELD: 6,
  NEWS: 7,
  REFUSED: 8,
} as const

/** Most bytes of pieces in one answer, unless a single piece is larger. */
export const RUN_MAX = 4 << 20

/** Bytes of a frame's three numbers. */
const HEAD = 12

/** A frame, or its head, when its bytes are sent on their own. */
export function frame(kind: number, first = 0, second = 0, body?: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(HEAD + (body?.length ?? 0))
  bytes.writeUInt32LE(kind, 0)
  bytes.writeUInt32LE(first, 4)
  bytes.writeUInt32LE(second, 8)
  if (body) bytes.set(body, HEAD)
  return bytes
}

/** What follows the head of a frame: so many bytes, and who takes them as they come. */
export type FrameBody = { length: number; push: (chunk: Buffer) => void; end: () => void }

/** A frame of which only the head is of interest. */
export function noBody(end: () => void): FrameBody {
  return { length: 0, push: () => {}, end }
}

/** A body that is taken when it is there in full. The caller has looked at its length. */
export function wholeBody(length: number, take: (body: Buffer) => void): FrameBody {
  const body = Buffer.allocUnsafe(length)
  let filled = 0
  return { length, push: (chunk) => void (filled += chunk.copy(body, filled)), end: () => take(body) }
}

export type FrameReader = {
  /** Takes the next bytes of the connection. Throws what `begin` and the bodies throw. */
  push(chunk: Buffer): void
}

/** Cuts a connection's bytes into frames. `begin` says what becomes of what follows each head. */
export function frameReader(begin: (kind: number, first: number, second: number) => FrameBody): FrameReader {
  let head: Buffer = Buffer.alloc(0)
  let body: FrameBody | undefined
  let left = 0

  /** Returns what is left of the chunk. */
  const readHead = (chunk: Buffer): Buffer => {
    const part = chunk.subarray(0, HEAD - head.length)
    head = head.length > 0 ? Buffer.concat([head, part]) : part
    if (head.length === HEAD) {
      body = begin(head.readUInt32LE(0), head.readUInt32LE(4), head.readUInt32LE(8))
      left = body.length
      head = head.subarray(0, 0)
    }
    return chunk.subarray(part.length)
  }

  return {
    push(chunk) {
      for (let rest = chunk; rest.length > 0;) {
        if (!body) rest = readHead(rest)
        if (!body) return
        const part = rest.subarray(0, left)
        rest = rest.subarray(part.length)
        left -= part.length
        if (part.length > 0) body.push(part)
        if (left > 0) return
        const { end } = body
        body = undefined
        end()
      }
    },
  }
}
