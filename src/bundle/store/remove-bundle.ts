import { randomUUID } from 'node:crypto'
import { rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { diskRoom, sayRoom, toMib } from '../../common/disk-room.ts'
import { bytesOf, chooseEvictions } from '../policy/cache-eviction.ts'
import type { StoredSize } from '../policy/cache-eviction.ts'
import { BundleError, errnoOf } from '../format/errors.ts'
import { fileKeyOf } from '../format/manifest.ts'
import type { StoreParts } from './store-parts.ts'

/** @throws {BundleError} `in-use` while some process holds or fetches it, `not-found`. */
export async function removeBundle(parts: StoreParts, bundle: string): Promise<void> {
  if (!(await parts.catalog.bundles()).includes(bundle)) {
    throw new BundleError('GLEANER_BUNDLE_NOT_FOUND', `there is no bundle ${bundle} here`)
  }
  const claim = await parts.claims.tryClaim(bundle, 'removal')
  if (!claim)
    throw new BundleError(
      'GLEANER_BUNDLE_IN_USE',
      `bundle ${bundle} is in use; remove it when no process holds it`,
    )
  try {
    await deleteBundleFiles(parts, bundle)
  } finally {
    await claim.release()
  }
}

/** Removes all that is there of a bundle but files that others share. The caller has a claim that keeps others off. */
export async function deleteBundleFiles(parts: StoreParts, bundle: string): Promise<void> {
  const { catalog, storePaths, temporary } = parts
  const manifest = await catalog.manifest(bundle).catch(() => undefined)
  await catalog.dropRecord(bundle)
  const old = path.join(temporary, randomUUID())
  await rename(storePaths.contents(bundle), old).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error
  })
  await catalog.forget(bundle)
  const needed = await neededFiles(parts)
  for (const file of manifest?.files ?? []) {
    const key = fileKeyOf(file)
    if (!needed.has(key)) await rm(storePaths.file(key), { force: true })
  }
  await rm(storePaths.partials(bundle), { recursive: true, force: true })
  await rm(old, { recursive: true, force: true })
}

/** Files that some bundle refers to. A fetch writes its manifest first, then looks for files of others. */
async function neededFiles({ catalog }: StoreParts): Promise<Set<string>> {
  const keys = new Set<string>()
  for (const bundle of await catalog.bundles()) {
    const manifest = await catalog.manifest(bundle).catch(() => undefined)
    for (const file of manifest?.files ?? []) keys.add(fileKeyOf(file))
  }
  return keys
}

/**
 * Removes unused bundles, the least recently used first, until all fit the budget (bytes).
 * @throws {BundleError} `no-room` when those in use take more.
 */
export async function freeSpace(parts: StoreParts, budget: number): Promise<void> {
  await evictDownTo(parts, budget)
  const left = bytesOf(await sizes(parts))
  if (left > budget) {
    throw new BundleError(
      'GLEANER_BUNDLE_NO_ROOM',
      `the bundles in use in ${parts.storePaths.folder} need ${left} bytes, its budget is ${budget}; raise the budget`,
    )
  }
}

/**
 * Sees that the disk has room for so many more bytes, before they are fetched for nothing.
 * @param evict whether unused bundles may go for it
 * @throws {BundleError} `disk` with the figures
 */
export async function requireRoom(parts: StoreParts, bytes: number, evict: boolean): Promise<void> {
  const { folder } = parts.storePaths
  const before = diskRoom(folder)
  if (!before || before.free >= bytes) return
  if (evict) await evictDownTo(parts, bytesOf(await sizes(parts)) - (bytes - before.free))
  const room = diskRoom(folder)
  if (!room || room.free >= bytes) return
  const needs = `${toMib(bytes)} more are needed, and there are ${sayRoom(room)}`
  throw new BundleError(
    'GLEANER_BUNDLE_DISK',
    `${folder}: the disk is full; free some space or choose another folder (${needs})`,
  )
}

async function evictDownTo(parts: StoreParts, budget: number): Promise<void> {
  for (const victim of chooseEvictions(await sizes(parts), budget).remove) {
    try {
      await removeBundle(parts, victim)
      parts.log.info({ bundle: victim }, 'removed a bundle to make room')
    } catch (error) {
      // Taken into use, or removed by another process, just now.
      if (!(error instanceof BundleError)) throw error
    }
  }
}

async function sizes({ catalog, claims }: StoreParts): Promise<StoredSize[]> {
  const found: StoredSize[] = []
  for (const bundle of await catalog.bundles()) {
    const manifest = await catalog.manifest(bundle).catch(() => undefined)
    const contents = manifest?.kind === 'tarball' ? (await catalog.record(bundle))?.contents : undefined
    found.push({
      bundle,
      files: new Map(manifest?.files.map((file) => [fileKeyOf(file), file.size])),
      extra: contents?.reduce((sum, [, size]) => sum + size, 0) ?? 0,
      usedAt: await catalog.usedAt(bundle),
      busy: (await claims.current(bundle)).length > 0,
    })
  }
  return found
}
