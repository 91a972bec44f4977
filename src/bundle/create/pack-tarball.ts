import { createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { create } from 'tar'
import { assertUnchanged, scan } from './scan-files.ts'

/** Modification time of everything in a tarball, so that equal contents make equal bytes. */
const MTIME = new Date(1_000_000_000_000)

/** How a tar file is compressed; gzip's level is 0 to 9. */
export type Compression = { gzip: { level: number } } | { zstd: true }

/** For gzip: weights and binaries hardly shrink further beyond 1, which is several times as fast as 6. */
export const GZIP: Compression = { gzip: { level: 1 } }

/**
 * Packs what is in a folder into a compressed tar file. The same contents give the same bytes: in order of paths, with fixed
 * times and modes and no owners.
 *
 * @throws {BundleError} `bad-input` or `changed`, naming the offending file.
 */
export async function pack(
  folder: string,
  target: string,
  compression: Compression,
  signal?: AbortSignal,
): Promise<void> {
  const { files, links, folders } = await scan(folder, 'keep')
  const paths = [...files.map((file) => file.path), ...links.map((link) => link.path), ...folders].sort()
  // A name that begins with @ would be taken for an archive to merge.
  const names = paths.map((path) => `./${path}`)
  const archive = create(
    {
      cwd: folder,
      ...compression,
      portable: true,
      mtime: MTIME,
      noDirRecurse: true,
      strict: true,
      onWriteEntry({ stat }) {
        if (stat) stat.mode = stat.isDirectory() || (stat.mode & 0o111) !== 0 ? 0o755 : 0o644
      },
    },
    names,
  )
  await pipeline(archive, createWriteStream(target), ...(signal ? [{ signal }] : []))
  await Promise.all(files.map(assertUnchanged))
}
