import { once } from 'node:events'
import type { Readable } from 'node:stream'

const NEWLINE = 0x0a

/**
 * Reads a stream up to the end of its first line, and no further: what follows can be read as if nothing had been.
 * @param most longest line, bytes
 * @throws {Error} if the stream ends before, or the line is longer
 */
export async function readFirstLine(stream: Readable, most: number): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  const ended = new AbortController()
  const end = () => ended.abort(new Error('it has ended'))
  for (const event of ['end', 'close', 'error']) stream.once(event, end)
  try {
    for (;;) {
      const chunk = stream.read() as Buffer | null
      if (chunk === null) {
        if (stream.readableEnded || stream.destroyed) throw new Error('it has ended')
        await once(stream, 'readable', { signal: ended.signal }).catch(() => {
          throw new Error('it has ended')
        })
        continue
      }
      const at = chunk.indexOf(NEWLINE)
      chunks.push(at < 0 ? chunk : chunk.subarray(0, at))
      size += chunks.at(-1)!.length
      if (size > most) throw new Error('the line is too long')
      if (at < 0) continue
      if (at + 1 < chunk.length) stream.unshift(chunk.subarray(at + 1))
      return Buffer.concat(chunks).toString('utf8')
    }
  } finally {
    for (const event of ['end', 'close', 'error']) stream.off(event, end)
  }
}
