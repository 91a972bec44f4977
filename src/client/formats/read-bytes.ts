import { isUtf8 } from 'node:buffer'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { PassThrough, type Readable, type Transform, pipeline } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { InputError } from '../errors.ts'
import type { Packing } from './format-names.ts'

const CHUNK = 1 << 20

/**
 * A file's bytes, unpacked.
 *
 * @param name what messages call the file
 * @throws {InputError} if it is cut off or damaged
 */
export async function* readBytes(
  path: string,
  name: string,
  packing: Packing | undefined,
): AsyncGenerator<Buffer, void, undefined> {
  const file = createReadStream(path, { highWaterMark: CHUNK })
  if (packing === undefined) {
    yield* file as AsyncIterable<Buffer>
    return
  }
  const unpacker = packing === 'gzip' ? gunzip(file) : unzstd(file)
  try {
    yield* unpacker as AsyncIterable<Buffer>
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    if (!/^(?:Z_|ZSTD_|ERR_ZLIB)/.test(code)) throw error
    const isShort = code === 'Z_BUF_ERROR' || /unexpected end/i.test(message)
    throw new InputError(
      isShort
        ? `${name} is cut off: its ${packing} data ends too early. Get the whole file, or make it anew`
        : `${name} is damaged: its ${packing} data cannot be unpacked. Get the file again, or make it anew`,
    )
  } finally {
    file.destroy()
    unpacker.destroy()
  }
}

function gunzip(file: Readable): Transform {
  const unpacker = createGunzip({ chunkSize: CHUNK })
  // An error of either is one of the reader's.
  pipeline(file, unpacker, () => {})
  return unpacker
}

/** Unpacks zstd of any number of frames: Node's own stream ends with one that is followed by something in what is written at once. */
function unzstd(file: Readable): Transform {
  const unpacked = new PassThrough()
  const begin = () => {
    const frame = createZstdDecompress({ chunkSize: CHUNK }) as Transform & { bytesWritten: number }
    frame.on('error', (error) => unpacked.destroy(error))
    frame.pipe(unpacked, { end: false })
    return frame
  }
  async function feed() {
    let frame = begin()
    for await (const chunk of file as AsyncIterable<Buffer>) {
      for (let at = 0; ;) {
        const before = frame.bytesWritten
        const given = chunk.subarray(at)
        await new Promise<void>((resolve, reject) => {
          frame.write(given, (error) => (error ? reject(error) : resolve()))
        })
        at += frame.bytesWritten - before
        if (at === chunk.length) break
        if (!frame.readableEnded) await once(frame, 'end')
        frame = begin()
      }
    }
    frame.on('end', () => unpacked.end())
    frame.end()
  }
  feed().catch((error: unknown) => unpacked.destroy(error as Error))
  return unpacked
}

/** Longest character of UTF-8 less one byte. */
const TAIL = 3

/** The same bytes, once they are known to be UTF-8. @throws {InputError} if they are not */
export async function* checkUtf8(
  source: AsyncIterable<Buffer>,
  name: string,
): AsyncGenerator<Buffer, void, undefined> {
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of source) {
    const bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
    const whole = wholeCharacters(bytes)
    if (!isUtf8(bytes.subarray(0, whole))) throw notUtf8(name)
    rest = bytes.subarray(whole)
    yield bytes.subarray(0, whole)
  }
  if (rest.length > 0) throw notUtf8(name)
}

/** Length of the bytes without a character at their end that goes on in the next ones. */
function wholeCharacters(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(TAIL, bytes.length); back++) {
    const byte = bytes[bytes.length - back]!
    if (byte < 0x80) return bytes.length
    if (byte < 0xc0) continue
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
    return length > back ? bytes.length - back : bytes.length
  }
  return bytes.length
}

const notUtf8 = (name: string) =>
  new InputError(`${name} is not UTF-8: convert it first, such as with "iconv -f LATIN1 -t UTF-8"`)
