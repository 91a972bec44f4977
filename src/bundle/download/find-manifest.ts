import { setTimeout as sleep } from 'node:timers/promises'
import type { Manifest } from '../../protocol/bundle.ts'
import { BundleError } from '../format/errors.ts'
import { bundleIdOf, parseManifest } from '../format/manifest.ts'
import { isSeeder } from '../policy/piece-picker.ts'
import type { PieceSource } from '../sources/piece-source.ts'

/** How long a source is given to answer before the next one is asked as well, milliseconds. */
const HEAD_START_MS = 50

/**
 * In which order to ask for a manifest: the manager or the relay first, the others by chance. Of many workers that begin together few have
 * their turn at the manager soon, and the others get the manifest from these and leave its queue.
 *
 * @param chance as Math.random
 */
export function orderForManifest<T extends Pick<PieceSource, 'kind'>>(
  sources: T[],
  chance: () => number,
): T[] {
  return sources
    .map((source) => ({
      source,
      order: isSeeder(source.kind) ? -1 : chance(),
    }))
    .sort((a, b) => a.order - b.order)
    .map(({ source }) => source)
}

/**
 * Asks one source after the other, each as well as those before it once these had a head start, until one sends the manifest
 * of this bundle. Undefined if none does, or when the signal fires.
 */
export async function raceForManifest(
  sources: PieceSource[],
  bundle: string,
  signal: AbortSignal,
): Promise<Manifest | undefined> {
  const over = new AbortController()
  const attempts: Promise<Manifest>[] = []
  const firstOf = () => Promise.any(attempts).catch(() => undefined)
  try {
    for (const source of sources) {
      attempts.push(askManifest(source, bundle, AbortSignal.any([signal, over.signal])))
      const headStart = sleep(HEAD_START_MS, undefined, { signal: over.signal }).catch(() => undefined)
      const found = await Promise.race([firstOf(), headStart])
      if (found) return found
    }
    return await firstOf()
  } finally {
    over.abort()
  }
}

async function askManifest(source: PieceSource, bundle: string, signal: AbortSignal): Promise<Manifest> {
  const manifest = parseManifest(await source.manifest(signal))
  if (bundleIdOf(manifest) === bundle) return manifest
  throw new BundleError('GLEANER_BUNDLE_MANIFEST', 'it is the manifest of another bundle')
}
