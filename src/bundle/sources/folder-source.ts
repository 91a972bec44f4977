import { open, readFile } from 'node:fs/promises'
import path from 'node:path'
import { looksUntouched } from '../store/check-pieces.ts'
import { fileKeyOf } from '../format/manifest.ts'
import { storePathsIn } from '../store/store-paths.ts'
import { SourceError } from './piece-source.ts'
import type { PieceSource } from './piece-source.ts'

/** A source that is the folder of another store, on a filesystem that this machine sees. It is only read. */
export function folderSource(bundle: string, folder: string): PieceSource {
  const storePaths = storePathsIn(path.resolve(folder))

  const failed = (error: unknown): SourceError =>
    new SourceError('unreachable', error instanceof Error ? error.message : String(error), { cause: error })

  return {
    name: `folder ${storePaths.folder}`.slice(0, 200),
    kind: 'folder',
    async manifest(signal) {
      try {
        return await readFile(storePaths.manifest(bundle), { signal })
      } catch (error) {
        throw failed(error)
      }
    },
    async follow({ manifest, firstOf }, onHeld, signal) {
      for (const [index, file] of manifest.files.entries()) {
        signal.throwIfAborted()
        const where = storePaths.file(fileKeyOf(file))
        const untouched = await looksUntouched(where, file).catch((error: unknown) => {
          throw failed(error)
        })
        if (untouched) onHeld(file.pieces.map((_, piece) => firstOf[index]! + piece))
      }
    },
    async take(take, { layout, signal, buffers, onRun, onPiece }) {
      if ('want' in take) throw new SourceError('protocol', 'a folder gives only what it is asked for')
      onRun(take.first, take.count)
      for (let piece = take.first; piece < take.first + take.count; piece++) {
        signal.throwIfAborted()
        const { file, offset, length } = layout.place(piece)
        const { files } = layout.manifest
        const buffer = buffers.take(length)
        const path = storePaths.file(fileKeyOf(files[file]!))
        const bytes = await readAt(path, offset, buffer).catch((error: unknown) => {
          throw failed(error)
        })
        await onPiece(piece, bytes)
        buffers.give(buffer)
      }
      return 'done'
    },
    close: () => Promise.resolve(),
  }
}

/** What there is to fill a buffer. */
async function readAt(file: string, offset: number, buffer: Buffer): Promise<Buffer> {
  const handle = await open(file, 'r')
  try {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, offset)
    return buffer.subarray(0, bytesRead)
  } finally {
    await handle.close()
  }
}
