import { createReadStream } from 'node:fs'

/** One line, without its newline. */
export interface Line {
  /** Counted from 1. */
  number: number
  bytes: Buffer
  /** False for a last line that has no newline. */
  ended: boolean
}

const NEWLINE = 0x0a

/**
 * The lines of a stream as bytes, in constant memory: of a line longer than `longest` bytes only the beginning is kept,
 * one byte more than `longest`.
 *
 * @throws what the stream throws
 */
export async function* readLines(
  source: AsyncIterable<Buffer>,
  longest: number,
): AsyncGenerator<Line, void, undefined> {
  let number = 0
  let parts: Buffer[] = []
  let kept = 0

  const keep = (part: Buffer) => {
    const room = longest + 1 - kept
    if (room <= 0 || part.length === 0) return
    parts.push(part.subarray(0, room))
    kept += Math.min(part.length, room)
  }
  const take = (ended: boolean): Line => {
    const bytes = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
    parts = []
    kept = 0
    return { number: ++number, bytes, ended }
  }

  for await (const chunk of source) {
    let start = 0
    for (let end; (end = chunk.indexOf(NEWLINE, start)) !== -1; start = end + 1) {
      keep(chunk.subarray(start, end))
      yield take(true)
    }
    keep(chunk.subarray(start))
  }
  if (kept > 0) yield take(false)
}

/** The same for a file. */
export function readFileLines(path: string, longest: number): AsyncGenerator<Line, void, undefined> {
  return readLines(createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>, longest)
}
