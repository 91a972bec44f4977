/** What a store holds of one bundle, for deciding what goes. */
export type StoredSize = {
  bundle: string
  /** Sizes in bytes by file key; several bundles may share a file. */
  files: Map<string, number>
  /** Further bytes of its own: what its tarball unpacked to. */
  extra: number
  /** When it was last used, milliseconds since 1970. */
  usedAt: number
  /** In use, being fetched, or about to be: it stays. */
  busy: boolean
}

/** Bytes of all these bundles together, each shared file counted once. */
export function bytesOf(bundles: StoredSize[]): number {
  const files = new Map(bundles.flatMap((bundle) => [...bundle.files]))
  const shared = files.values().reduce((sum, size) => sum + size, 0)
  return bundles.reduce((sum, bundle) => sum + bundle.extra, shared)
}

/**
 * Which bundles to remove so that the others fit the budget (bytes): the least recently used first, none that is busy.
 * `left` is what remains then; more than the budget if what is busy is too large.
 */
export function chooseEvictions(bundles: StoredSize[], budget: number): { remove: string[]; left: number } {
  const candidates = bundles.filter(({ busy }) => !busy).sort((a, b) => a.usedAt - b.usedAt)
  const remaining = new Set(bundles)
  const remove: string[] = []
  let left = bytesOf(bundles)
  for (const candidate of candidates) {
    if (left <= budget) break
    remaining.delete(candidate)
    left = bytesOf([...remaining])
    remove.push(candidate.bundle)
  }
  return { remove, left }
}
