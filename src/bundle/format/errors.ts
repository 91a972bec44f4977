import { diskRoom, sayRoom } from '../../common/disk-room.ts'
import { type ErrorCode, errorCodeOf } from '../../protocol/error-codes.ts'

/** What kind of trouble it is, for programs. */
export type BundleErrorCode = Extract<ErrorCode, `GLEANER_BUNDLE_${string}`>

/** Anything that goes wrong with bundles. The message says what to do next. */
export class BundleError extends Error {
  override readonly name = 'BundleError'
  readonly code: BundleErrorCode

  constructor(code: BundleErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** The code of a system error, e.g. `ENOENT`. An error of ours is none: a full disk is not a source's fault. */
export function errnoOf(error: unknown): string | undefined {
  if (errorCodeOf(error) !== undefined) return undefined
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

const advice: Record<string, string> = {
  ENOSPC: 'the disk is full; free some space or give a smaller budget',
  EDQUOT: 'your disk quota is used up; free some space or choose another folder',
  EROFS: 'the filesystem is read-only; choose a folder that can be written',
  EACCES: 'permission denied; choose a folder this user may write',
  EPERM: 'not permitted; choose a folder this user may write',
  EMFILE: 'too many open files; raise the limit (ulimit -n)',
  EIO: 'the disk reported an I/O error; choose another folder',
}

/** Rethrows a system error of the disk as a {@link BundleError} that says what to do; others unchanged. */
export function explainDisk(error: unknown, path: string): never {
  const hint = advice[errnoOf(error) ?? '']
  if (hint === undefined) throw error
  const room = ['ENOSPC', 'EDQUOT'].includes(errnoOf(error)!) ? diskRoom(path) : undefined
  throw new BundleError('GLEANER_BUNDLE_DISK', `${path}: ${hint}${room ? ` (${sayRoom(room)})` : ''}`, {
    cause: error,
  })
}
