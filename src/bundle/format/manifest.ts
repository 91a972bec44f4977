import { createHash } from 'node:crypto'
import { explain, limits } from '../../protocol/primitives.ts'
import { Manifest } from '../../protocol/bundle.ts'
import type { ManifestFile } from '../../protocol/bundle.ts'
import { BundleError } from './errors.ts'

/** Most pieces in one bundle. */
const PIECES_MAX = 4_000_000

/** JSON with sorted keys and no white space: equal values have equal text, so it can be hashed. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
}

export function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

/** The SHA-256 of the manifest's canonical JSON: the bundle's identity. */
export function bundleIdOf(manifest: Manifest): string {
  return sha256(canonicalJson(manifest))
}

/**
 * A file's identity in a store: equal for files with the same bytes, pieces and executable bit, whatever their path and
 * bundle.
 */
export function fileKeyOf({ size, executable, pieceSize, pieces }: ManifestFile): string {
  return sha256(canonicalJson({ size, executable, pieceSize, pieces }))
}

/** Bytes of all files together. */
export function totalBytes(manifest: Manifest): number {
  return manifest.files.reduce((sum, file) => sum + file.size, 0)
}

/**
 * Reads and checks a manifest from outside: its size, its schema, that files are in order of their paths without
 * collisions, that piece counts fit the sizes, and the limits on the whole. A reader that expects a certain bundle compares
 * {@link bundleIdOf} of the outcome.
 *
 * @throws {BundleError} `bad-manifest`, naming the offending place.
 */
export function parseManifest(bytes: Uint8Array): Manifest {
  if (bytes.length > limits.body) throw bad(`it is larger than ${limits.body} bytes`)
  const parsed = Manifest.safeParse(readJson(bytes))
  if (!parsed.success) throw bad(explain(parsed.error))
  const manifest = parsed.data
  checkPaths(manifest.files)
  checkSizes(manifest)
  return manifest
}

function readJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (error) {
    throw bad('it is not JSON in UTF-8', error)
  }
}

function checkPaths(files: ManifestFile[]): void {
  const paths = new Set<string>()
  let previous = ''
  for (const { path } of files) {
    if (path <= previous) throw bad(`"${path}" is not in order after "${previous}"`)
    previous = path
    paths.add(path)
  }
  for (const path of paths) {
    for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1)) {
      const parent = path.slice(0, slash)
      if (paths.has(parent)) throw bad(`"${parent}" is both a file and a folder`)
    }
  }
}

function checkSizes(manifest: Manifest): void {
  let pieces = 0
  for (const file of manifest.files) {
    const expected = Math.ceil(file.size / file.pieceSize)
    if (file.pieces.length !== expected) {
      throw bad(`"${file.path}" has ${file.pieces.length} pieces where its size makes ${expected}`)
    }
    pieces += expected
  }
  if (pieces > PIECES_MAX) throw bad(`it has more than ${PIECES_MAX} pieces`)
  if (!Number.isSafeInteger(totalBytes(manifest))) throw bad('its files are too large together')
  if (manifest.kind === 'tarball' && manifest.files.length !== 1) throw bad('a tarball bundle is one file')
}

function bad(why: string, cause?: unknown): BundleError {
  return new BundleError('GLEANER_BUNDLE_MANIFEST', `this is not a usable bundle manifest: ${why}`, { cause })
}
