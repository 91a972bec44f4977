import { once } from 'node:events'
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip, createZstdCompress } from 'node:zlib'
import { InputError } from '../errors.ts'
import type { Packing } from './format-names.ts'

/** Where bytes go. */
export interface ByteSink extends AsyncDisposable {
  write(bytes: Uint8Array | string): Promise<void>
  /** Resolves once all of it is there for good. Without it, nothing has changed. */
  finish(): Promise<void>
}

/** A path that stands for standard output. */
export const STDOUT = '-'

/**
 * Opens a file that takes its place once it is finished: until then it is beside it, hidden, as `.NAME.partial`.
 *
 * @throws {InputError} when it is finished, if another process writes the same file
 */
export async function openSink(path: string, packing: Packing | undefined): Promise<ByteSink> {
  if (path === STDOUT) return standardOutput()
  const partial = join(dirname(path), `.${basename(path)}.partial`)
  await rm(partial, { force: true })
  const file = await open(partial, 'w', 0o666)
  const sink = packing === undefined ? plain(file, path) : packed(file, packing, path)
  let isFinished = false
  return {
    write: (bytes) => sink.write(bytes),
    async finish() {
      await sink.end()
      await file.sync()
      const [own, found] = [await file.stat(), await stat(partial).catch(() => undefined)]
      if (found?.ino !== own.ino || found.dev !== own.dev)
        throw new InputError(
          `${path} is being written by another run: wait for it, and give the command again`,
        )
      await rename(partial, path)
      isFinished = true
    },
    async [Symbol.asyncDispose]() {
      await sink.end().catch(() => {})
      await file.close()
      if (!isFinished) await rm(partial, { force: true })
    },
  }
}

interface Inner {
  write(bytes: Uint8Array | string): Promise<void>
  end(): Promise<void>
}

const toBytes = (bytes: Uint8Array | string) => (typeof bytes === 'string' ? Buffer.from(bytes) : bytes)

function plain(file: FileHandle, path: string): Inner {
  return { write: (bytes) => writeAll(file, toBytes(bytes), path), end: () => Promise.resolve() }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, path: string): Promise<void> {
  try {
    for (let done = 0; done < bytes.length;)
      done += (await file.write(bytes, done, bytes.length - done)).bytesWritten
  } catch (error) {
    // The system knows a file it writes to by number only.
    throw Object.assign(error as Error, { path })
  }
}

function packed(file: FileHandle, packing: Packing, path: string): Inner {
  const packer = packing === 'gzip' ? createGzip() : createZstdCompress()
  const target = new Writable({
    write: (chunk: Buffer, _encoding, done) => void writeAll(file, chunk, path).then(() => done(), done),
  })
  const written = pipeline(packer, target)
  written.catch(() => {})
  return {
    async write(bytes) {
      if (!packer.write(toBytes(bytes))) await Promise.race([once(packer, 'drain'), written])
    },
    async end() {
      packer.end()
      await written
    },
  }
}

function standardOutput(): ByteSink {
  return {
    async write(bytes) {
      if (!process.stdout.write(bytes)) await once(process.stdout, 'drain')
    },
    finish: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}
