import { refOf } from '../../blobs/blob-folder.ts'
import type { UploadContextRequest } from '../../protocol/client.ts'
import { userRoutes } from '../../protocol/routes/user-routes.ts'
import type { CallOptions, HttpClient } from '../http-client.ts'
import type { BlobTransfer } from './blob-transfer.ts'

/** A context with its files, on its way to the factory. */
export interface Upload extends Pick<UploadContextRequest, 'context' | 'keepMs'> {
  /** Contents by path, by bundle. */
  files: Record<string, Map<string, Uint8Array>>
}

/** How long the factory may take to make bundles of what it has, milliseconds. */
const PACKING_MS = 10 * 60_000

/** Gives the factory a context: its files as blobs, those that it does not have, and then what to make of them. */
export async function uploadContext(
  transport: Pick<HttpClient, 'call'>,
  blobs: Pick<BlobTransfer, 'put'>,
  { files, ...rest }: Upload,
  { signal }: CallOptions = {},
): Promise<void> {
  const contents = Object.values(files).flatMap((bundle) => [...bundle.values()])
  const parts = contents.filter(({ length }) => length > 0).map((bytes) => ({ ref: refOf(bytes), bytes }))
  await blobs.put(parts, { signal })
  const entries = Object.entries(files).map(([bundle, contents]) => {
    const list = [...contents].map(([path, bytes]) => ({
      path,
      ...(bytes.length > 0 && { blob: refOf(bytes) }),
    }))
    return [bundle, list] as const
  })
  const body = { ...rest, files: Object.fromEntries(entries) }
  await transport.call(userRoutes.uploadContext, { body, timeoutMs: PACKING_MS, signal })
}
