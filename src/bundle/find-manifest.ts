import { setTimeout as sleep } from 'node:timers/promises'
import type { Manifest } from '../protocol/bundle.ts'
import { BundleError } from './errors.ts'
import { bundleIdOf, parseManifest } from './manifest.ts'
import type { PieceSource } from './source.ts'

/**
 * How long a source is given to answer before the next one is asked as well, milliseconds: by chance between these, so that
 * workers that wait for each other do not turn to the manager all at once.
 */
const HEAD_START_LEAST_MS = 250
const HEAD_START_MOST_MS = 1_000
/** Share of workers that ask the manager first. */
const MANAGER_FIRST = 1 / 8

/**
 * In which order to ask for a manifest: by chance, but the manager second at the latest. Of many workers that begin together
 * only few ask it at once, and the others get the manifest from these.
 *
 * @param chance as Math.random
 */
export function orderForManifest<T extends Pick<PieceSource, 'kind'>>(
  sources: T[],
  chance: () => number,
): T[] {
  const shuffled = sources
    .map((source) => ({ source, order: chance() }))
    .sort((a, b) => a.order - b.order)
    .map(({ source }) => source)
  const managers = shuffled.filter(({ kind }) => kind === 'manager')
  const others = shuffled.filter(({ kind }) => kind !== 'manager')
  const before = chance() < MANAGER_FIRST ? 0 : 1
  return [...others.slice(0, before), ...managers, ...others.slice(before)]
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
      const ms = HEAD_START_LEAST_MS + Math.random() * (HEAD_START_MOST_MS - HEAD_START_LEAST_MS)
      const headStart = sleep(ms, undefined, { signal: over.signal }).catch(() => undefined)
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
  throw new BundleError('bad-manifest', 'it is the manifest of another bundle')
}
