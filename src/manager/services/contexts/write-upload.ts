import { constants } from 'node:fs'
import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { blobFile } from '../../../blobs/blob-folder.ts'
import type { UploadContextRequest } from '../../../protocol/client.ts'
import { invalid } from '../../http/api-errors.ts'

/**
 * Lays out a context that came as blobs in a folder, as if its user had made that by hand.
 *
 * @param folder not there yet
 * @param blobs folder of the blobs, which are all there
 * @throws {ApiError} 400 if a path is that of a file and of a folder
 */
export async function writeUpload(
  folder: string,
  blobs: string,
  { context, files }: UploadContextRequest,
): Promise<AsyncDisposable> {
  const remove = () => rm(folder, { recursive: true, force: true })
  try {
    for (const [bundle, entries] of Object.entries(files)) {
      for (const { path, blob } of entries) {
        const target = join(folder, bundle, path)
        await mkdir(dirname(target), { recursive: true, mode: 0o700 })
        if (blob) await copyFile(blobFile(blobs, blob.sha256), target, constants.COPYFILE_FICLONE)
        else await writeFile(target, '')
      }
    }
    const own = Object.keys(files).map((bundle) => [bundle, `./${bundle}`])
    const bundles = {
      ...(context.bundles as object | undefined),
      ...(Object.fromEntries(own) as Record<string, string>),
    }
    // JSON is YAML.
    await writeFile(join(folder, 'context.yaml'), JSON.stringify({ ...context, bundles }))
    return { [Symbol.asyncDispose]: remove }
  } catch (error) {
    await remove()
    const { code, message } = error as NodeJS.ErrnoException
    if (['EEXIST', 'ENOTDIR', 'EISDIR', 'ENAMETOOLONG'].includes(code ?? '')) throw invalid(message)
    throw error
  }
}
