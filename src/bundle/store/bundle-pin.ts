import { randomUUID } from 'node:crypto'
import { mkdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Manifest } from '../../protocol/bundle.ts'
import { goodPieces, looksUntouched } from './check-pieces.ts'
import { isIntact, placeContents } from './bundle-contents.ts'
import { fitEnvironment, needsFitting } from './fit-environment.ts'
import { BundleError, errnoOf, explainDisk } from '../format/errors.ts'
import { fileKeyOf } from '../format/manifest.ts'
import type { StoreParts } from './store-parts.ts'

/** How many boots of machines a record remembers: as many machines can share a folder without checking over and over. */
const BOOTS_KEPT = 64

/** One file that is not as its manifest says. */
export type Damage = { path: string; badPieces: number }

/** A bundle's files in place. They stay while it is held, whatever other processes do. */
export type PinnedBundle = AsyncDisposable & {
  bundle: string
  /** Where the files are, to be read only; for a tarball, what was in it. */
  folder: string
}

/** Reads every byte of a complete bundle and compares. What is damaged is no longer complete, so a fetch mends it. */
export async function verifyBundle(
  parts: StoreParts,
  bundle: string,
  signal?: AbortSignal,
): Promise<Damage[]> {
  const { catalog, owner, log } = parts
  const manifest = await catalog.manifest(bundle)
  const record = await catalog.record(bundle)
  if (!manifest || !record) {
    throw new BundleError(
      'GLEANER_BUNDLE_NOT_FOUND',
      `bundle ${bundle} is not complete here; there is nothing to verify`,
    )
  }
  const damage = await findDamage(parts, manifest, signal)
  if (damage.length > 0) {
    log.warn({ bundle, damage }, 'a bundle on disk is damaged; it will be fetched anew')
    await catalog.dropRecord(bundle)
    await dropContents(parts, bundle)
  } else if (!record.boots.includes(owner.boot)) {
    await catalog.saveRecord(bundle, { ...record, boots: [...record.boots, owner.boot].slice(-BOOTS_KEPT) })
  }
  return damage
}

/** Its links lead to the damaged files. Its holders keep what there is. */
async function dropContents({ claims, storePaths, temporary }: StoreParts, bundle: string): Promise<void> {
  if ((await claims.current(bundle)).includes('hold')) return
  const old = path.join(temporary, randomUUID())
  await rename(storePaths.contents(bundle), old).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error
  })
  await removeTree(old)
}

async function findDamage(parts: StoreParts, manifest: Manifest, signal?: AbortSignal): Promise<Damage[]> {
  const damage: Damage[] = []
  for (const file of manifest.files) {
    const where = parts.storePaths.file(fileKeyOf(file))
    const good = await goodPieces(where, file, signal)
    if (good.length === file.pieces.length && (await looksUntouched(where, file))) continue
    damage.push({ path: file.path, badPieces: file.pieces.length - good.length })
  }
  return damage
}

/** Whether every piece is here. Looks at each file's size and time, and reads them all if those tell of a change. */
export async function isBundleComplete(
  parts: StoreParts,
  bundle: string,
  signal?: AbortSignal,
): Promise<boolean> {
  const { catalog, owner, storePaths } = parts
  const manifest = await catalog.manifest(bundle)
  const record = manifest && (await catalog.record(bundle))
  if (!record) return false
  let trusted = record.boots.includes(owner.boot)
  for (const file of trusted ? manifest.files : []) {
    trusted &&= await looksUntouched(storePaths.file(fileKeyOf(file)), file)
  }
  return trusted || (await verifyBundle(parts, bundle, signal)).length === 0
}

/** Takes a bundle's files into use, laying them out if need be; undefined if it is not here in full. */
export async function pinBundle(
  parts: StoreParts,
  bundle: string,
  signal?: AbortSignal,
): Promise<PinnedBundle | undefined> {
  if (!(await parts.catalog.manifest(bundle))) return undefined
  const claim = await parts.claims.claim(bundle, 'hold', signal)
  const release = async () => {
    await parts.catalog.touch(bundle)
    await claim.release()
  }
  try {
    if (await isBundleComplete(parts, bundle, signal)) {
      const folder = await ensureContents(parts, bundle)
      await parts.catalog.touch(bundle)
      return { bundle, folder, [Symbol.asyncDispose]: release }
    }
  } catch (error) {
    await claim.release()
    explainDisk(error, parts.storePaths.folder)
  }
  await claim.release()
  return undefined
}

async function ensureContents(parts: StoreParts, bundle: string): Promise<string> {
  const { catalog, claims, storePaths, temporary } = parts
  const manifest = (await catalog.manifest(bundle))!
  const record = (await catalog.record(bundle))!
  const folder = storePaths.contents(bundle)
  if (record.contents && (await isIntact(folder, record.contents))) {
    if (needsFitting(record.contents)) await fitEnvironment(parts, bundle, folder)
    return folder
  }

  const draft = path.join(temporary, randomUUID())
  try {
    const contents = await placeContents(storePaths, manifest, draft)
    await mkdir(path.dirname(folder), { recursive: true })
    await rename(draft, folder).catch(async (error: unknown) => {
      if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'EEXIST') throw error
      // Another process was faster, or what is there is not whole any more.
      if (await isIntact(folder, contents)) return
      const holders = (await claims.current(bundle)).filter((kind) => kind === 'hold')
      if (holders.length > 1) {
        throw new BundleError(
          'GLEANER_BUNDLE_DAMAGED',
          `files are missing from ${folder}, which is in use; end those processes`,
        )
      }
      await rename(folder, `${draft}-old`)
      await rename(draft, folder)
      await removeTree(`${draft}-old`)
    })
    await catalog.saveRecord(bundle, { ...record, contents })
    if (needsFitting(contents)) await fitEnvironment(parts, bundle, folder)
    return folder
  } finally {
    await removeTree(draft)
  }
}

function removeTree(folder: string): Promise<void> {
  return rm(folder, { recursive: true, force: true })
}
