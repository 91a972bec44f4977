import { mkdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { diskRoom, sayRoom, toMib } from '../../common/disk-room.ts'
import { makePrivateFolder, UnsafePathError } from '../../common/private-path.ts'
import { PilotError } from '../exit-codes.ts'

/** Less room than this, bytes, and not even a library's temporary files fit. */
const LEAST_ROOM = 64 << 20

/**
 * Looks whether this node can run a worker at all, before it takes work from nodes that can, and makes the cache folder this user's
 * alone.
 *
 * @param jobFolder the folder that the batch system has made for this job, if it makes one
 * @throws PilotError `no-space` that says what is wrong with which folder
 */
export async function checkNode(
  folders: { scratch: string; cache: string },
  jobFolder?: string,
): Promise<void> {
  await makePrivateFolder(folders.cache, below(folders.cache, jobFolder)).catch((error: Error) => {
    // What cannot be made cannot be written either, which is said below.
    if (error instanceof UnsafePathError)
      throw new PilotError('GLEANER_PILOT_NO_SPACE', error.message, { cause: error })
  })
  for (const [use, folder] of Object.entries(folders)) {
    try {
      await mkdir(folder, { recursive: true })
      const probe = path.join(folder, `.probe-${process.pid}`)
      await writeFile(probe, 'probe')
      await rm(probe)
    } catch (error) {
      const { message } = error as Error
      throw new PilotError('GLEANER_PILOT_NO_SPACE', `the ${use} folder cannot be written: ${message}`, {
        cause: error,
      })
    }
    const room = diskRoom(folder)
    if (!room || room.free >= LEAST_ROOM) continue
    const needs = `and ${toMib(LEAST_ROOM)} are needed`
    throw new PilotError(
      'GLEANER_PILOT_NO_SPACE',
      `the ${use} folder ${folder} has only ${sayRoom(room)}, ${needs}`,
    )
  }
}

function below(cache: string, jobFolder: string | undefined): string | undefined {
  return jobFolder !== undefined && cache.startsWith(jobFolder + path.sep) ? jobFolder : undefined
}
