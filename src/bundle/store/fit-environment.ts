import { execFile } from 'node:child_process'
import { stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { BundleError } from '../format/errors.ts'
import type { StoreParts } from './store-parts.ts'
import type { UnpackedFile } from './unpack-tarball.ts'

/** What conda-pack leaves in an environment, to be run once where that was unpacked: it writes the place into some files. */
const UNPACK = 'bin/conda-unpack'
const PYTHON = 'bin/python'
/** Says that it was run. */
const DONE = '.gleaner-fitted'
/** Longest it may take, and how often others look whether it is done, milliseconds. */
const LIMIT_MS = 10 * 60_000
const LOOK_MS = 200

/** Whether these files are an environment that must be fitted to its place. */
export const needsFitting = (files: readonly UnpackedFile[]): boolean =>
  files.some(([file]) => file === UNPACK)

/**
 * Fits an environment to the folder in which it is, once for all processes that share the store.
 * @throws {BundleError} `damaged` with what its program said
 */
export async function fitEnvironment({ claims }: StoreParts, bundle: string, folder: string): Promise<void> {
  while (!(await isThere(path.join(folder, DONE)))) {
    const claim = await claims.tryClaim(bundle, 'fit')
    if (!claim) {
      await delay(LOOK_MS)
      continue
    }
    try {
      if (await isThere(path.join(folder, DONE))) return
      await promisify(execFile)(path.join(folder, PYTHON), [path.join(folder, UNPACK)], { timeout: LIMIT_MS })
      await writeFile(path.join(folder, DONE), '')
    } catch (error) {
      const { stderr = '', message } = error as { stderr?: string; message: string }
      const why = stderr.trim().split('\n').at(-1) || message
      throw new BundleError(
        'GLEANER_BUNDLE_DAMAGED',
        `${UNPACK} of the environment in ${folder} failed: ${why}`,
        {
          cause: error,
        },
      )
    } finally {
      await claim.release()
    }
  }
}

async function isThere(file: string): Promise<boolean> {
  return (await stat(file).catch(() => undefined)) !== undefined
}
