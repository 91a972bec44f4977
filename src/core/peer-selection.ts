import { PEERS } from '../protocol/piece-sources.ts'

/*
 * Which peers a worker is told to fetch a bundle from. While many fetch it, each piece goes through many hands, and a worker that gets less than its
 * link carries ends last. So all are named equally often: chosen by chance alone, of 64 workers some are followed by
 * twice as many as others, and those who follow them wait.
 */

/** A worker that this many others caught with wrong bytes is named to no worker any more. */
const ACCUSERS = 2

/** Who holds which bundle, who fetches it from whom, and who is not to be trusted with it. */
export interface PeerTable {
  bundles: Map<string, Sharers>
  /** By accused worker, who says that it sent wrong bytes. */
  accusers: Map<string, Set<string>>
}

/** The workers that hold one bundle, whole or in part. */
interface Sharers {
  /** To how many that fetch it each of them is named. */
  holders: Map<string, number>
  /** By worker that fetches it, who was named to it, and whether that one failed it. */
  named: Map<string, Map<string, 'good' | 'failed'>>
}

export function createPeerTable(): PeerTable {
  return { bundles: new Map(), accusers: new Map() }
}

/** Notes that a worker holds some or all of a bundle. */
export function noteHolder({ bundles }: PeerTable, worker: string, bundle: string): void {
  const known = bundles.get(bundle) ?? { holders: new Map(), named: new Map() }
  bundles.set(bundle, known)
  if (!known.holders.has(worker)) known.holders.set(worker, 0)
}

/** Notes that a worker no longer fetches a bundle: those that were named to it are free for others. */
export function noteFetchEnd({ bundles }: PeerTable, worker: string, bundle: string): void {
  const sharers = bundles.get(bundle)
  if (!sharers) return
  const { holders, named } = sharers
  for (const name of named.get(worker)?.keys() ?? []) holders.set(name, holders.get(name)! - 1)
  named.delete(worker)
}

/** Notes that a worker got wrong bytes from another. */
export function noteAccusation({ accusers }: PeerTable, accused: string, accuser: string): void {
  const known = accusers.get(accused) ?? new Set()
  accusers.set(accused, known.add(accuser))
}

/** The worker is gone, and what it held. What it said of others stays: it may have had to leave over it. */
export function noteGone(known: PeerTable, worker: string): void {
  for (const [bundle, { holders, named }] of known.bundles) {
    noteFetchEnd(known, worker, bundle)
    for (const names of named.values()) names.delete(worker)
    if (holders.delete(worker) && holders.size === 0) known.bundles.delete(bundle)
  }
  known.accusers.delete(worker)
}

/**
 * Peers from whom a worker may fetch a bundle: at most a few, the same ones each time while they are there and do not
 * fail it, and otherwise those that are named to fewest; by chance among equals.
 *
 * @param without workers that have failed the one that asks since it asked last
 * @param random as Math.random
 */
export function peersFor(
  { bundles, accusers }: PeerTable,
  worker: string,
  bundle: string,
  without: Set<string>,
  random: () => number,
): string[] {
  const sharers = bundles.get(bundle)
  if (!sharers) return []
  const { holders } = sharers
  const named = sharers.named.get(worker) ?? new Map<string, 'good' | 'failed'>()
  sharers.named.set(worker, named)
  const isTrusted = (name: string) => (accusers.get(name)?.size ?? 0) < ACCUSERS
  for (const name of named.keys()) {
    // It still counts as named: a worker that fails all is not to be tried first by the next one.
    if (without.has(name) || !isTrusted(name)) named.set(name, 'failed')
  }
  const good = () => [...named].filter(([, state]) => state === 'good').map(([name]) => name)
  const missing = PEERS - good().length
  if (missing > 0) {
    const isUsable = (name: string) =>
      name !== worker && !named.has(name) && !without.has(name) && isTrusted(name)
    for (const name of leastNamed(holders, isUsable, missing, random)) {
      named.set(name, 'good')
      holders.set(name, holders.get(name)! + 1)
    }
  }
  return good()
}

/** In one pass and without a list of all: there may be thousands. */
function leastNamed(
  holders: Map<string, number>,
  isUsable: (name: string) => boolean,
  most: number,
  random: () => number,
): string[] {
  const best: { name: string; order: number }[] = []
  for (const [name, times] of holders) {
    const order = times + random()
    if ((best.length === most && order >= best.at(-1)!.order) || !isUsable(name)) continue
    const behind = best.findIndex((other) => other.order > order)
    best.splice(behind < 0 ? best.length : behind, 0, { name, order })
    if (best.length > most) best.pop()
  }
  return best.map(({ name }) => name)
}
