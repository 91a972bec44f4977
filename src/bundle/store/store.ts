import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Logger } from 'pino'
import type { BundleInfo, Manifest, ManifestFile } from '../../protocol/bundle.ts'
import { openCatalog } from './catalog.ts'
import { openClaims } from './claims.ts'
import type { Claim } from './claims.ts'
import { BundleError, explainDisk } from '../format/errors.ts'
import { pinBundle, isBundleComplete, verifyBundle } from './bundle-pin.ts'
import type { Damage, PinnedBundle } from './bundle-pin.ts'
import { fileKeyOf, totalBytes } from '../format/manifest.ts'
import { joinStoreOwners } from './store-owner.ts'
import type { StoreParts } from './store-parts.ts'
import { SharedPieces } from './shared-pieces.ts'
import { openStoredPieces, sealFile } from './stored-pieces.ts'
import type { StoredPieces } from './stored-pieces.ts'
import { storePathsIn } from './store-paths.ts'
import { deleteBundleFiles, freeSpace, removeBundle, requireRoom } from './remove-bundle.ts'

export type { Damage, PinnedBundle } from './bundle-pin.ts'

export type StoreOptions = {
  /** Made if it is not there. Processes of one user may share it, on any machines that see it. */
  folder: string
  /** Most bytes that bundles may take. Default: no limit. */
  budget?: number
  /** Whether unused bundles may go where the disk has no room for one that is fetched. */
  evict?: boolean
  log: Logger
}

/** A bundle as a store has it. */
export type StoredBundle = Omit<BundleInfo, 'name'> & {
  /** Every piece is there. */
  complete: boolean
  /** When it was last used, milliseconds since 1970. */
  usedAt: number
}

/** Bundles on disk, shared by processes; any of them may be killed at any moment. */
export type Store = AsyncDisposable & {
  folder: string
  /** A folder on the store's filesystem for things in the making. Gone when the store is closed. */
  temporary: string

  /** Takes the bundle's files into use; undefined if it is not here in full. */
  hold(bundle: string, signal?: AbortSignal): Promise<PinnedBundle | undefined>
  manifest(bundle: string): Promise<Manifest | undefined>
  /** Where a file of a complete bundle lies in the store. Read-only; it goes when its bundle is removed. */
  fileOf(file: ManifestFile): string
  list(): Promise<StoredBundle[]>
  /** The bundle's id by each name given with `setName`. */
  names(): Promise<Map<string, string>>
  setName(name: string, bundle: string): Promise<void>
  /** Reads every byte of a complete bundle and compares. What is damaged is no longer complete, so a fetch mends it. */
  verify(bundle: string, signal?: AbortSignal): Promise<Damage[]>
  /** @throws {BundleError} `in-use` while some process holds or fetches it, `not-found`. */
  remove(bundle: string): Promise<void>

  /** Whether every piece is here. */
  isComplete(bundle: string, signal?: AbortSignal): Promise<boolean>
  /**
   * Its pieces, to serve them: of the fetch that this process runs, or of the complete bundle. That another process removed it
   * is noticed within a second.
   */
  pieces(bundle: string): Promise<StoredPieces | undefined>
  /** The same, waiting up to `ms` milliseconds for a fetch to begin; not while another process fetches it into this store. */
  awaitPieces(bundle: string, ms: number, signal: AbortSignal): Promise<StoredPieces | undefined>
  /** The right to add to the bundle; undefined while another process has it. */
  claimFetch(bundle: string): Promise<Claim | undefined>
  /**
   * Under a fetch claim: makes room for the bundle and opens what is there of it.
   * @throws {BundleError} `no-room`, `disk`.
   */
  begin(bundle: string, manifest: Manifest, signal?: AbortSignal): Promise<StoredPieces>
  /** Under a fetch claim: takes in a bundle whose files, each with its hashes taken, are at these paths on its filesystem. */
  adopt(bundle: string, manifest: Manifest, staged: string[]): Promise<void>
  /** Ends what `begin` began; the bundle is complete from now on if every piece is there. */
  end(pieces: StoredPieces): Promise<void>
}

/** @throws {BundleError} `disk` when the folder cannot be used. */
export async function openStore(options: StoreOptions): Promise<Store> {
  const { budget, evict = false } = options
  const parts = await openParts(options)
  const { storePaths, owner, claims, catalog, temporary } = parts
  const shared = new SharedPieces(parts)

  /** Says first that the bundle's files are needed, then makes room for them. */
  const prepare = async (bundle: string, manifest: Manifest): Promise<void> => {
    await catalog.saveManifest(bundle, manifest)
    if (budget === undefined) return
    try {
      await freeSpace(parts, budget)
    } catch (error) {
      await deleteBundleFiles(parts, bundle)
      throw error
    }
  }

  return {
    folder: storePaths.folder,
    temporary,
    fileOf: (file) => storePaths.file(fileKeyOf(file)),
    hold: (bundle, signal) => pinBundle(parts, bundle, signal),
    manifest: (bundle) => catalog.manifest(bundle),
    names: () => catalog.names(),
    async setName(name, bundle) {
      if (!(await catalog.manifest(bundle)))
        throw new BundleError('GLEANER_BUNDLE_NOT_FOUND', `there is no bundle ${bundle} here`)
      await catalog.setName(name, bundle)
    },
    list: () => listBundles(catalog),
    async verify(bundle, signal) {
      const damage = await verifyBundle(parts, bundle, signal)
      if (damage.length > 0) shared.forget(bundle)
      return damage
    },
    async remove(bundle) {
      await removeBundle(parts, bundle)
      shared.forget(bundle)
    },
    isComplete: (bundle, signal) => isBundleComplete(parts, bundle, signal),
    pieces: (bundle) => shared.of(bundle),
    awaitPieces: (bundle, ms, signal) => shared.await(bundle, ms, signal),
    claimFetch: (bundle) => claims.tryClaim(bundle, 'fetch'),
    async begin(bundle, manifest, signal) {
      try {
        await prepare(bundle, manifest)
        const opened = await openStoredPieces(storePaths, bundle, manifest, 'check', signal)
        await requireRoom(parts, totalBytes(manifest) - opened.heldBytes(), evict)
        shared.beginFetch(opened)
        return opened
      } catch (error) {
        explainDisk(error, storePaths.folder)
      }
    },
    async adopt(bundle, manifest, staged) {
      await prepare(bundle, manifest)
      for (const [index, file] of manifest.files.entries()) {
        await sealFile(staged[index]!, storePaths.file(fileKeyOf(file)), file.executable)
      }
      await catalog.saveRecord(bundle, { boots: [owner.boot] })
    },
    async end(ended) {
      const { bundle, layout } = ended
      try {
        if (ended.heldPieces() < layout.pieces) return
        await catalog.saveRecord(bundle, { boots: [owner.boot] })
        await rm(storePaths.partials(bundle), { recursive: true, force: true })
        shared.complete(ended)
      } catch (error) {
        explainDisk(error, storePaths.folder)
      } finally {
        shared.endFetch(bundle)
      }
    },
    async [Symbol.asyncDispose]() {
      await rm(temporary, { recursive: true, force: true })
      await owner[Symbol.asyncDispose]()
    },
  }
}

/** Joins the processes that share the folder, and removes what those left unfinished that are gone. */
async function openParts({ folder, log }: StoreOptions): Promise<StoreParts> {
  const storePaths = storePathsIn(path.resolve(folder))
  const explain = (error: unknown) => explainDisk(error, storePaths.folder)
  const owner = await joinStoreOwners(storePaths.owners).catch(explain)
  const temporary = path.join(storePaths.temporary, owner.token)
  const catalog = openCatalog(storePaths, temporary)
  const claims = openClaims(storePaths.claims, owner)
  await mkdir(temporary, { recursive: true }).catch(explain)
  for (const token of await owner.gone()) {
    await rm(path.join(storePaths.temporary, token), { recursive: true, force: true })
    await owner.forget(token)
  }
  return { storePaths, owner, claims, catalog, temporary, log }
}

async function listBundles(catalog: StoreParts['catalog']): Promise<StoredBundle[]> {
  const found: StoredBundle[] = []
  for (const id of await catalog.bundles()) {
    const manifest = await catalog.manifest(id).catch(() => undefined)
    if (!manifest) continue
    const complete = (await catalog.record(id)) !== undefined
    const usedAt = await catalog.usedAt(id)
    const { kind, files } = manifest
    found.push({ id, kind, files: files.length, bytes: totalBytes(manifest), complete, usedAt })
  }
  return found
}
