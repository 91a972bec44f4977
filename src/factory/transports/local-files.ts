import { open, rm } from 'node:fs/promises'
import type { JobFiles } from './transport.ts'

/** The batch system sees the state folder itself: nothing needs to be brought anywhere. */
export const localFiles: JobFiles = {
  folderFor: (folder) => Promise.resolve(folder),
  copy: (from, to) =>
    from === to ? Promise.resolve() : Promise.reject(new Error(`${from} is seen as it is, and not as ${to}`)),
  deliver: ({ path }) => Promise.resolve(path),

  async tail(path, bytes) {
    const file = await open(path).catch(() => undefined)
    if (!file) return ''
    try {
      const { size } = await file.stat()
      const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, Math.max(0, size - bytes))
      return buffer.toString('utf8', 0, bytesRead)
    } finally {
      await file.close()
    }
  },

  remove: (folder) => rm(folder, { recursive: true, force: true }),
}
