/** Neighbours named to one worker: enough for full speed and for a few that fail, few enough for each to serve well. */
const NEIGHBOURS = 16
/** A worker that this many others caught with wrong bytes is named to nobody any more. */
const ACCUSERS = 2

/** Who holds which bundle, and who is not to be trusted with it. */
export interface Neighbourhood {
  /** By bundle, the workers that hold it, whole or in part. */
  holders: Map<string, Set<string>>
  /** By accused worker, who says that it sent wrong bytes. */
  accusers: Map<string, Set<string>>
}

export function createNeighbourhood(): Neighbourhood {
  return { holders: new Map(), accusers: new Map() }
}

/** Notes that a worker holds some or all of a bundle. */
export function holds({ holders }: Neighbourhood, worker: string, bundle: string): void {
  const known = holders.get(bundle) ?? new Set()
  holders.set(bundle, known.add(worker))
}

/** Notes that a worker got wrong bytes from another. */
export function accuse({ accusers }: Neighbourhood, accused: string, accuser: string): void {
  const known = accusers.get(accused) ?? new Set()
  accusers.set(accused, known.add(accuser))
}

/** The worker is gone, and what it held. What it said of others stays: it may have had to leave over it. */
export function leaves({ holders, accusers }: Neighbourhood, worker: string): void {
  for (const [bundle, workers] of holders)
    if (workers.delete(worker) && workers.size === 0) holders.delete(bundle)
  accusers.delete(worker)
}

/**
 * Neighbours from whom a worker may fetch a bundle, at most a few, at random: the load spreads, and no two workers depend
 * on the same ones.
 * @param without workers that have just failed the one that asks
 * @param random as Math.random
 */
export function neighboursFor(
  { holders, accusers }: Neighbourhood,
  worker: string,
  bundle: string,
  without: Set<string>,
  random: () => number,
): string[] {
  const all = [...(holders.get(bundle) ?? [])].filter(
    (name) => name !== worker && !without.has(name) && (accusers.get(name)?.size ?? 0) < ACCUSERS,
  )
  for (let i = 0; i < Math.min(NEIGHBOURS, all.length); i++) {
    const j = i + Math.floor(random() * (all.length - i))
    const swapped = all[i]!
    all[i] = all[j]!
    all[j] = swapped
  }
  return all.slice(0, NEIGHBOURS)
}
