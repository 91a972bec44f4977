import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { BundleId } from '../../protocol/bundle.ts'
import type { Manifest } from '../../protocol/bundle.ts'
import { Name } from '../../protocol/primitives.ts'
import { BundleError, errnoOf } from '../format/errors.ts'
import { bundleIdOf, canonicalJson, parseManifest } from '../format/manifest.ts'
import type { StorePaths } from './store-paths.ts'

/** What a store notes of a bundle whose every piece was checked. */
const BundleRecord = z.object({
  /**
   * Boots of machines under which its files were checked in full. Within a boot, what was written is there, whatever
   * became of the process; after another one (a crash may have lost what was not yet on the disk) they are checked anew.
   */
  boots: z.array(z.string()),
  /** Path and size of each file that its folder held when it was laid out. */
  contents: z.array(z.tuple([z.string(), z.number()])).optional(),
})
export type BundleRecord = z.infer<typeof BundleRecord>

/** What a store has written down about its bundles: manifests, records of complete ones, names. */
export type Catalog = {
  /** Ids of all bundles that are here in full or in part. */
  bundles(): Promise<string[]>
  /** @throws {BundleError} `damaged` if the file is not the manifest of that id. */
  manifest(bundle: string): Promise<Manifest | undefined>
  saveManifest(bundle: string, manifest: Manifest): Promise<void>
  record(bundle: string): Promise<BundleRecord | undefined>
  /** Whether there is a record, without reading it. */
  hasRecord(bundle: string): Promise<boolean>
  saveRecord(bundle: string, record: BundleRecord): Promise<void>
  /** First a bundle's record, so that it is no longer complete; `forget` takes its manifest and names as well. */
  dropRecord(bundle: string): Promise<void>
  forget(bundle: string): Promise<void>
  /** When a bundle was last used, milliseconds since 1970. */
  usedAt(bundle: string): Promise<number>
  touch(bundle: string): Promise<void>
  names(): Promise<Map<string, string>>
  setName(name: string, bundle: string): Promise<void>
}

/** @param temporary a folder on the same filesystem. */
export function openCatalog(storePaths: StorePaths, temporary: string): Catalog {
  /** Manifests never change, and large ones take long to check. */
  const known = new Map<string, Manifest>()

  const writeWhole = async (file: string, data: string) => {
    const draft = path.join(temporary, randomUUID())
    await writeFile(draft, data)
    await mkdir(path.dirname(file), { recursive: true })
    await rename(draft, file)
  }
  const names = async () => {
    const found = new Map<string, string>()
    for (const name of await listFolder(storePaths.names)) {
      const id = await readIfThere(path.join(storePaths.names, name))
      if (id) found.set(name, id.toString())
    }
    return found
  }

  return {
    bundles: async () =>
      (await listFolder(storePaths.manifests)).filter((name) => BundleId.safeParse(name).success),

    async manifest(bundle) {
      if (!BundleId.safeParse(bundle).success) return undefined
      const bytes = await readIfThere(storePaths.manifest(bundle))
      if (!bytes) {
        known.delete(bundle)
        return undefined
      }
      const manifest = known.get(bundle) ?? parseManifest(bytes)
      if (!known.has(bundle) && bundleIdOf(manifest) !== bundle) {
        throw new BundleError(
          'GLEANER_BUNDLE_DAMAGED',
          `${storePaths.manifest(bundle)} was changed; remove that bundle`,
        )
      }
      known.set(bundle, manifest)
      return manifest
    },
    async saveManifest(bundle, manifest) {
      await writeWhole(storePaths.manifest(bundle), canonicalJson(manifest))
      known.set(bundle, manifest)
    },

    async record(bundle) {
      const bytes = await readIfThere(storePaths.record(bundle))
      try {
        return bytes && BundleRecord.parse(JSON.parse(bytes.toString()))
      } catch {
        // Not one of ours: as good as none, so the files are looked at again.
        return undefined
      }
    },
    hasRecord: (bundle) =>
      stat(storePaths.record(bundle)).then(
        () => true,
        () => false,
      ),
    saveRecord: (bundle, record) => writeWhole(storePaths.record(bundle), JSON.stringify(record)),
    dropRecord: (bundle) => rm(storePaths.record(bundle), { force: true }),

    async forget(bundle) {
      for (const [name, id] of await names()) {
        if (id === bundle) await rm(path.join(storePaths.names, name), { force: true })
      }
      await rm(storePaths.manifest(bundle), { force: true })
      known.delete(bundle)
    },

    async usedAt(bundle) {
      const found = await stat(storePaths.manifest(bundle)).catch(() => undefined)
      return found?.mtimeMs ?? 0
    },
    async touch(bundle) {
      const now = new Date()
      await utimes(storePaths.manifest(bundle), now, now).catch(() => {})
    },

    names,
    setName: (name, bundle) => writeWhole(path.join(storePaths.names, Name.parse(name)), bundle),
  }
}

async function listFolder(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw error
  }
}

async function readIfThere(file: string): Promise<Buffer | undefined> {
  try {
    return await readFile(file)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}
