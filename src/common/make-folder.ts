import { existsSync } from 'node:fs'
import { access, constants, mkdir } from 'node:fs/promises'
import path from 'node:path'

/**
 * Makes a folder, and those it is in, unless they are there.
 * @throws the system's reason: of a read-only filesystem Node only says `ENOENT`, so its nearest folder is asked.
 */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true })
  } catch (error) {
    let nearest = path.dirname(folder)
    while (!existsSync(nearest) && nearest !== path.dirname(nearest)) nearest = path.dirname(nearest)
    await access(nearest, constants.W_OK)
    throw error
  }
}
