import { lstat, readdir, readlink, realpath, stat } from 'node:fs/promises'
import type { Stats } from 'node:fs'
import path from 'node:path'
import { BundlePath } from '../../protocol/bundle.ts'
import { BundleError, errnoOf } from '../format/errors.ts'

/** A file to go into a bundle. */
export type ScannedFile = {
  /** Its path in the bundle. */
  path: string
  /** Where it is on disk. */
  source: string
  size: number
  executable: boolean
  /** To notice changes while it is read. */
  stats: Stats
}

/** What a folder holds: files through links, and the paths of links and folders for callers that keep those as they are. */
export type Scan = {
  files: ScannedFile[]
  links: { path: string; source: string; target: string }[]
  folders: string[]
}

/**
 * Finds what a path from a user comprises: a file, or a folder with all below it. Links are fine as long as they stay in
 * the folder.
 *
 * @throws {BundleError} `bad-input` for a link that leads out or nowhere, a device, or a name that cannot be in a bundle.
 */
export async function scan(root: string, links: 'follow' | 'keep'): Promise<Scan> {
  const found: Scan = { files: [], links: [], folders: [] }
  const top = await realpath(root).catch((error: unknown) => {
    throw errnoOf(error) === 'ENOENT' ? bad(root, 'there is no such file or folder') : error
  })

  const visit = async (source: string, name: string, above: string[]): Promise<void> => {
    if (name !== '' && !BundlePath.safeParse(name).success)
      throw bad(source, 'its name cannot be in a bundle')
    const link = (await lstat(source)).isSymbolicLink()
    const real = await realpath(source).catch(() => undefined)
    if (real === undefined) throw bad(source, 'it is a link to nothing; remove it')
    if (real !== top && !real.startsWith(top + path.sep)) {
      const advice = /^bin\/python[\d.]*$/.test(name)
        ? 'name the interpreter itself if nodes see it, or pack the environment with conda-pack or venv-pack'
        : 'copy what it points to into the folder'
      throw bad(source, `it is a link that leads out of ${root}; ${advice}`)
    }
    if (link && links === 'keep') {
      found.links.push({ path: name, source, target: await readlink(source) })
      return
    }
    const stats = await stat(real)
    if (stats.isDirectory()) {
      if (above.includes(real)) throw bad(source, 'it is a link to a folder it is in')
      if (name !== '') found.folders.push(name)
      for (const entry of (await readdir(source)).sort()) {
        await visit(path.join(source, entry), name === '' ? entry : `${name}/${entry}`, [...above, real])
      }
    } else if (stats.isFile()) {
      const executable = (stats.mode & 0o111) !== 0
      found.files.push({ path: name, source, size: stats.size, executable, stats })
    } else throw bad(source, 'it is neither a file nor a folder')
  }

  if ((await stat(top)).isDirectory()) await visit(top, '', [])
  else await visit(top, path.basename(root), [])
  return found
}

/** @throws {BundleError} `changed` if the file is not what it was when it was scanned. */
export async function assertUnchanged({ source, stats }: ScannedFile): Promise<void> {
  const now = await stat(source).catch(() => undefined)
  if (now?.size === stats.size && now.mtimeMs === stats.mtimeMs && now.ino === stats.ino) return
  throw new BundleError(
    'GLEANER_BUNDLE_CHANGED',
    `${source} changed while it was read; try again when nothing writes to it`,
  )
}

function bad(source: string, why: string): BundleError {
  return new BundleError('GLEANER_BUNDLE_INPUT', `${source} cannot go into a bundle: ${why}`)
}
