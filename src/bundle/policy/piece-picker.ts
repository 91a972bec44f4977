import { add, bitmap, has, remove } from '../format/bitmap.ts'
import type { Bitmap } from '../format/bitmap.ts'

/*
 * Decides which pieces a worker asks of which source. No I/O, no clock and no randomness of its own: events change the plain state;
 * the time and a source of chance come in, requests go out. A fetch drives it, and so does a simulation of whole clusters.
 *
 * The rules, and what each is for:
 * - Peers first; the rarest piece first, chance among equals: pieces spread evenly, so that workers keep having
 *   something to give each other.
 * - A seeder, which has each piece before any worker does (the manager, or the relay of a site), is asked only for "any piece that no
 *   peer of mine has". It hands out each piece about once, so that its link carries the bundle once, not once per worker.
 * - Few requests in hand, over as many sources as possible: enough that a free link finds a request waiting, few enough
 *   that a piece is not stuck in one queue while others could send it.
 * - A worker that starves all the same asks a seeder for pieces by number. With no peer in reach, all come so.
 * - When nothing is left to ask but pieces that are late, a second source is asked for them.
 */

export type Tuning = {
  /** Requests in hand of all peers together; as long as there are enough sources, one of each. */
  inHand: number
  /** Few sources are asked for as much as makes this many requests together. */
  leastInHand: number
  /**
   * A request is late when it takes longer than this, milliseconds, and so many times as long as usual. It no longer counts
   * as in hand then, and its pieces may be asked of a second source.
   */
  lateMs: number
  lateTimes: number
  /** How long a worker with nothing to ask of its peers waits before it turns to a seeder. Milliseconds. */
  patienceMs: number
  /** How much one request asks for, as the time its source takes to send it. Milliseconds. */
  runMs: number
  /** Most bytes of one request. */
  runMax: number
}

export const defaultTuning: Tuning = {
  inHand: 12,
  leastInHand: 4,
  lateMs: 300,
  lateTimes: 3,
  patienceMs: 300,
  runMs: 20,
  runMax: 4 << 20,
}

/** Rarity is compared among about this many pieces, from a random one on: as good, and quick for large bundles. */
const SAMPLE = 1024

/** A manager holds everything; a relay is getting it, before any peer does. */
export type SourceKind = 'manager' | 'relay' | 'peer' | 'folder'

/** It gets each piece before any peer does. */
export const isSeeder = (kind: SourceKind) => kind === 'manager' || kind === 'relay'

/** One request under way. */
export type RunRequest = {
  source: string
  /** Pieces that are to come; none until a source that may choose has chosen. */
  first: number
  count: number
  since: number
}

/** What to ask of a source next. */
export type NewRequest =
  | { kind: 'run'; source: string; first: number; count: number }
  | { kind: 'any'; source: string; want: Bitmap; bytes: number }

type SourceState = {
  name: string
  kind: SourceKind
  has: Bitmap
  runRequests: Set<RunRequest>
  /** It is left alone until then. */
  notBefore: number
  /** Until then it would have us ask peers for what it has given away. */
  spreadUntil: number
  /** Bytes per millisecond of its answers lately; 0 if unknown. */
  rate: number
}

/** What a worker knows while it fetches a bundle. Change it through the functions below only. */
export type Swarm = {
  readonly pieces: number
  readonly length: (piece: number) => number
  readonly tuning: Tuning
  /** Pieces that are stored. */
  readonly held: Bitmap
  /** Pieces that some request is to bring. */
  readonly asked: Bitmap
  /** How many requests are to bring each piece. */
  readonly requests: Uint8Array
  /** How many sources that are no seeders have each piece. */
  readonly copies: Uint16Array
  /** Pieces that some source that is no seeder has. */
  readonly copied: Bitmap
  readonly sources: Map<string, SourceState>
  /** How long requests took lately, milliseconds; 0 if unknown. */
  usualMs: number
  /** Since when there was nothing to ask of peers though more could be in hand. */
  hungrySince: number | undefined
}

export function newSwarm(
  held: Bitmap,
  pieces: number,
  length: (piece: number) => number,
  tuning: Tuning = defaultTuning,
): Swarm {
  return {
    pieces,
    length,
    tuning,
    held: held.slice(),
    asked: bitmap(pieces),
    requests: new Uint8Array(pieces),
    copies: new Uint16Array(pieces),
    copied: bitmap(pieces),
    sources: new Map(),
    usualMs: 0,
    hungrySince: undefined,
  }
}

/** There is another source. A manager holds everything; the others tell with {@link sourceHas}. */
export function sourceJoins(swarm: Swarm, name: string, kind: SourceKind): void {
  const held = bitmap(swarm.pieces)
  swarm.sources.set(name, {
    name,
    kind,
    has: held,
    runRequests: new Set(),
    notBefore: 0,
    spreadUntil: 0,
    rate: 0,
  })
  if (kind === 'manager') for (let piece = 0; piece < swarm.pieces; piece++) add(held, piece)
}

/** A source is gone. Its flights must have been ended. */
export function sourceLeaves(swarm: Swarm, name: string): void {
  const source = swarm.sources.get(name)
  if (!source) return
  swarm.sources.delete(name)
  if (isSeeder(source.kind)) return
  for (let piece = 0; piece < swarm.pieces; piece++) {
    if (has(source.has, piece) && --swarm.copies[piece]! === 0) remove(swarm.copied, piece)
  }
}

/** A source told that it holds a piece. */
export function sourceHas(swarm: Swarm, name: string, piece: number): void {
  const source = swarm.sources.get(name)
  if (!source || has(source.has, piece)) return
  add(source.has, piece)
  if (isSeeder(source.kind)) return
  swarm.copies[piece]!++
  add(swarm.copied, piece)
}

/** A source is too busy to be asked before `until`, milliseconds. */
export function sourceRests(swarm: Swarm, name: string, until: number): void {
  const source = swarm.sources.get(name)
  if (source) source.notBefore = until
}

/** A seeder has given away all that was wanted of it, and it will be seen at peers soon. Asks again at `until`. */
export function sourceWithholds(swarm: Swarm, name: string, until: number): void {
  const source = swarm.sources.get(name)
  if (source) source.spreadUntil = until
}

/** A request was sent. */
export function requestBegins(swarm: Swarm, ask: NewRequest, now: number): RunRequest {
  const run = ask.kind === 'run' ? ask : { first: 0, count: 0 }
  const runRequest: RunRequest = { source: ask.source, first: run.first, count: 0, since: now }
  swarm.sources.get(ask.source)?.runRequests.add(runRequest)
  requestBrings(swarm, runRequest, run.first, run.count)
  return runRequest
}

/** It became known which pieces a request will bring. */
export function requestBrings(swarm: Swarm, runRequest: RunRequest, first: number, count: number): void {
  runRequest.first = first
  runRequest.count = count
  for (let piece = first; piece < first + count; piece++) {
    swarm.requests[piece]!++
    add(swarm.asked, piece)
  }
}

/** A request is over, whatever it brought. `bytes` and `ms` tell how fast a whole answer came. */
export function requestEnds(
  swarm: Swarm,
  runRequest: RunRequest,
  measured?: { bytes: number; ms: number },
): void {
  const source = swarm.sources.get(runRequest.source)
  source?.runRequests.delete(runRequest)
  for (let piece = runRequest.first; piece < runRequest.first + runRequest.count; piece++) {
    swarm.requests[piece]!--
    if (swarm.requests[piece] === 0) remove(swarm.asked, piece)
  }
  if (!source || !measured) return
  const rate = measured.bytes / Math.max(measured.ms, 0.1)
  source.rate = source.rate === 0 ? rate : source.rate + (rate - source.rate) / 4
  swarm.usualMs = swarm.usualMs === 0 ? measured.ms : swarm.usualMs + (measured.ms - swarm.usualMs) / 16
}

/** A piece was checked and stored. */
export function pieceArrives(swarm: Swarm, piece: number): void {
  add(swarm.held, piece)
}

/**
 * The next request to make at `now` (milliseconds), or undefined if there is none until something happens or time passes.
 * Begin its flight before asking for another. `chance` is uniform in [0, 1).
 */
export function chooseRequests(swarm: Swarm, now: number, chance: () => number): NewRequest | undefined {
  const perSource = Math.ceil(swarm.tuning.leastInHand / swarm.sources.size)
  const free = [...swarm.sources.values()].filter(
    (source) => source.runRequests.size < perSource && source.notBefore <= now,
  )
  const seeders = free.filter(({ kind }) => isSeeder(kind))
  if (inHand(swarm, now) >= swarm.tuning.inHand) {
    swarm.hungrySince = undefined
    return askForRare(swarm, seeders, now)
  }
  const peers = free
    .filter(({ kind }) => !isSeeder(kind))
    .map((source) => ({ source, order: source.runRequests.size + chance() }))
    .sort((a, b) => a.order - b.order)
    .map(({ source }) => source)
  const ask = askByNumber(swarm, peers, chance)
  if (ask) {
    swarm.hungrySince = undefined
    return ask
  }
  // A source withholds only what it has: while none has a missing piece, there is nothing to be impatient for.
  swarm.hungrySince = isOffered(swarm) ? (swarm.hungrySince ?? now) : undefined
  const hungryMs = now - (swarm.hungrySince ?? now)
  return (
    askForRare(swarm, seeders, now) ??
    (hungryMs >= swarm.tuning.patienceMs ? askByNumber(swarm, seeders, chance) : undefined) ??
    askAgain(swarm, [...peers, ...seeders], now)
  )
}

/** A source has pieces that are neither here nor on their way. */
function isOffered({ sources, held, asked }: Swarm): boolean {
  for (const { has: there } of sources.values())
    for (let byte = 0; byte < held.length; byte++)
      if ((there[byte]! & ~held[byte]! & ~asked[byte]!) !== 0) return true
  return false
}

/** Requests of peers that can still be expected to be answered soon. */
function inHand(swarm: Swarm, now: number): number {
  let requests = 0
  for (const { kind, runRequests } of swarm.sources.values()) {
    if (isSeeder(kind)) continue
    for (const runRequest of runRequests) if (!isLate(swarm, runRequest, now)) requests++
  }
  return requests
}

function isLate({ tuning, usualMs }: Swarm, { since }: RunRequest, now: number): boolean {
  return now - since >= Math.max(tuning.lateMs, usualMs * tuning.lateTimes)
}

/** What is not here and not on its way, of one source after the other. */
function askByNumber(
  swarm: Swarm,
  sources: readonly SourceState[],
  chance: () => number,
): NewRequest | undefined {
  for (const source of sources) {
    const piece = rarest(
      swarm,
      (byte) => source.has[byte]! & ~swarm.held[byte]! & ~swarm.asked[byte]!,
      chance,
    )
    if (piece !== undefined) return runFrom(swarm, source, piece)
  }
  return undefined
}

/** Of a seeder, any piece that no peer has. */
function askForRare(swarm: Swarm, seeders: readonly SourceState[], now: number): NewRequest | undefined {
  for (const seeder of seeders) {
    if (seeder.spreadUntil > now) continue
    // Byte by byte: this is decided anew with all that comes.
    const { held, asked, copied } = swarm
    const want = seeder.has.map((byte, i) => byte & ~(held[i]! | asked[i]! | copied[i]!))
    if (want.some((byte) => byte !== 0))
      return { kind: 'any', source: seeder.name, want, bytes: runBytes(swarm, seeder) }
  }
  return undefined
}

/** A piece that is late, of a second source. */
function askAgain(swarm: Swarm, others: SourceState[], now: number): NewRequest | undefined {
  const runRequests = [...swarm.sources.values()].flatMap((source) => [...source.runRequests])
  const late = runRequests
    .filter((runRequest) => isLate(swarm, runRequest, now))
    .sort((a, b) => a.since - b.since)
  for (const { source: first, first: start, count } of late) {
    for (let piece = start; piece < start + count; piece++) {
      if (has(swarm.held, piece) || swarm.requests[piece]! > 1) continue
      const other = others.find((source) => source.name !== first && has(source.has, piece))
      if (other) return { kind: 'run', source: other.name, first: piece, count: 1 }
    }
  }
  return undefined
}

/** The piece with the fewest copies among those whose bits `usable` gives, byte by byte; any of several. */
function rarest(swarm: Swarm, usable: (byte: number) => number, chance: () => number): number | undefined {
  const bytes = swarm.held.length
  const start = Math.floor(chance() * bytes)
  let best: number | undefined
  let seen = 0
  for (let step = 0; step < bytes && seen < SAMPLE; step++) {
    const byte = (start + step) % bytes
    for (let bits = usable(byte) & 255; bits; bits &= bits - 1) {
      const piece = byte * 8 + 31 - Math.clz32(bits & -bits)
      seen++
      if (best === undefined || swarm.copies[piece]! < swarm.copies[best]!) best = piece
    }
  }
  return best
}

/** A request for `piece` and, of a fast source, for those after it that can be had as well. */
function runFrom(swarm: Swarm, source: SourceState, piece: number): NewRequest {
  const most = runBytes(swarm, source)
  let bytes = swarm.length(piece)
  let end = piece + 1
  while (end < swarm.pieces && has(source.has, end) && !has(swarm.held, end) && !has(swarm.asked, end)) {
    bytes += swarm.length(end)
    if (bytes > most) break
    end++
  }
  return { kind: 'run', source: source.name, first: piece, count: end - piece }
}

function runBytes({ tuning }: Swarm, { rate }: SourceState): number {
  return Math.max(1, Math.min(tuning.runMax, Math.round(rate * tuning.runMs)))
}
