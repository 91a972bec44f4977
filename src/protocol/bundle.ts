import { z } from 'zod'
import { Name, Sha256 } from './primitives.ts'

/** Bounds on a piece, in bytes. All pieces of a file have the same size, but for the last. */
export const PIECE_MIN = 16 << 10
export const PIECE_MAX = 16 << 20

/** A path inside a bundle: relative, `/`-separated, without `.` or `..`, control characters or backslashes. */
export const BundlePath = z
  .string()
  .max(1024)
  .regex(/^(?!\/)(?!.*(?:^|\/)\.{1,2}(?:\/|$))(?!.*\/\/)(?!.*\/$)[^\\\p{Cc}]+$/u, 'not a safe relative path')

/** One file of a bundle and the SHA-256 of each of its pieces, in order. An empty file has no pieces. */
export const ManifestFile = z.strictObject({
  path: BundlePath,
  size: z
    .int()
    .nonnegative()
    .max(2 ** 44),
  executable: z.boolean(),
  /** Bytes of each piece but the last. */
  pieceSize: z.int().min(PIECE_MIN).max(PIECE_MAX),
  pieces: z.array(Sha256).max(1_000_000),
})
export type ManifestFile = z.infer<typeof ManifestFile>

/**
 * What a bundle is made of. A bundle's identity is the SHA-256 of its manifest's canonical JSON
 * (see `bundle/manifest.ts`), so a manifest that was changed is another bundle.
 *
 * `files`: weights and the like, used as they are. `tarball`: one tar file, unpacked on the worker.
 */
export const Manifest = z.strictObject({
  version: z.literal(1),
  kind: z.enum(['files', 'tarball']),
  files: z.array(ManifestFile).min(1).max(200_000),
})
export type Manifest = z.infer<typeof Manifest>

/** A bundle's identity: the SHA-256 of its manifest. */
export const BundleId = Sha256

/** A bundle as listed by the manager. */
export const BundleInfo = z.object({
  id: BundleId,
  name: Name,
  kind: z.enum(['files', 'tarball']),
  bytes: z.int().nonnegative(),
  files: z.int().nonnegative(),
})
export type BundleInfo = z.infer<typeof BundleInfo>
