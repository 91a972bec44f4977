/*
 * How bytes on one connection are cut into frames: three numbers (u32, little endian), the first of which is the frame's kind,
 * and bytes. `piece-frames.ts` and `shell-frames.ts` say which kinds there are.
 */

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
  /** Takes the next bytes of the connection, of which it keeps none itself. Throws what `begin` and the bodies throw. */
  push(chunk: Buffer): void
}

/** Cuts a connection's bytes into frames. `begin` says what becomes of what follows each head. */
export function frameReader(begin: (kind: number, first: number, second: number) => FrameBody): FrameReader {
  const head = Buffer.alloc(HEAD)
  let headBytes = 0
  let body: FrameBody | undefined
  let left = 0

  /** Returns what is left of the chunk. */
  const readHead = (chunk: Buffer): Buffer => {
    const copied = chunk.copy(head, headBytes)
    headBytes += copied
    if (headBytes === HEAD) {
      body = begin(head.readUInt32LE(0), head.readUInt32LE(4), head.readUInt32LE(8))
      left = body.length
      headBytes = 0
    }
    return chunk.subarray(copied)
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
