import path from 'node:path'

/** Where things lie in a store's folder. A store on a shared filesystem can be read through these, too. */
export type StorePaths = ReturnType<typeof storePathsIn>

export function storePathsIn(folder: string) {
  return {
    folder,
    owners: path.join(folder, 'owners'),
    claims: path.join(folder, 'claims'),
    /** Files and folders in the making, by owner. */
    temporary: path.join(folder, 'tmp'),
    names: path.join(folder, 'names'),
    manifests: path.join(folder, 'manifests'),
    /** Written before anything of the bundle, removed first: what a manifest here refers to is not cleared away. */
    manifest: (bundle: string) => path.join(folder, 'manifests', bundle),
    /** Written after every piece was checked. */
    record: (bundle: string) => path.join(folder, 'complete', bundle),
    /** The bundle's files in place, or a tarball's contents. */
    contents: (bundle: string) => path.join(folder, 'folders', bundle),
    /** A file of which every piece was checked, by its key. */
    file: (key: string) => path.join(folder, 'files', key.slice(0, 2), key),
    /** Files of a bundle of which some pieces are there, named by their index in its manifest. */
    partials: (bundle: string) => path.join(folder, 'partial', bundle),
  }
}
