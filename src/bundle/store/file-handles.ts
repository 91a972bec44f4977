import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'

/** Files kept open between uses, so that a piece does not cost an open and a close. */
export type FileHandles = {
  /** Runs `use` with the file at this path. `flags` matter only when it is not open yet. */
  use<T>(file: string, flags: number | string, use: (handle: FileHandle) => Promise<T>): Promise<T>
  /** Closes the file as soon as no reader is left: it is moved or removed. */
  drop(file: string): void
}

type Entry = { handle: Promise<FileHandle>; users: number; dropped: boolean }

/** Most files that stay open unused, and for how long, milliseconds. What was removed takes disk space until then. */
const KEPT = 16
const KEPT_MS = 2_000

export function createFileHandles(): FileHandles {
  /** The one used last comes last. */
  const entries = new Map<string, Entry>()
  let timer: NodeJS.Timeout | undefined

  const closeIfDone = (entry: Entry) => {
    if (!entry.dropped || entry.users > 0) return
    // What failed to open need not be closed; what fails to close after its data was written loses nothing.
    void entry.handle.then((handle) => handle.close()).catch(() => {})
  }
  const drop = (file: string) => {
    const entry = entries.get(file)
    if (!entry) return
    entries.delete(file)
    entry.dropped = true
    closeIfDone(entry)
  }
  const dropUnused = (keep: number) => {
    const unused = [...entries].filter(([, { users }]) => users === 0).map(([file]) => file)
    for (const file of unused.slice(0, Math.max(0, unused.length - keep))) drop(file)
  }

  return {
    async use(file, flags, use) {
      const entry = entries.get(file) ?? { handle: open(file, flags), users: 0, dropped: false }
      entries.delete(file)
      entries.set(file, entry)
      entry.users++
      try {
        return await use(await entry.handle)
      } catch (error) {
        if (entries.get(file) === entry) drop(file)
        throw error
      } finally {
        entry.users--
        closeIfDone(entry)
        if (entries.size > KEPT) dropUnused(KEPT)
        timer ??= setTimeout(() => {
          timer = undefined
          dropUnused(0)
        }, KEPT_MS).unref()
      }
    },
    drop,
  }
}
