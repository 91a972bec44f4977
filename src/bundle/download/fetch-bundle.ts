import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Manifest } from '../../protocol/bundle.ts'
import type { Fault, Source, SourcesRequest } from '../../protocol/piece-sources.ts'
import { BundleError } from '../format/errors.ts'
import { folderSource } from '../sources/folder-source.ts'
import { httpSource } from '../sources/http-source.ts'
import type { Connect } from '../sources/http-source.ts'
import { orderForManifest, raceForManifest } from './find-manifest.ts'
import { totalBytes } from '../format/manifest.ts'
import type { Tuning } from '../policy/piece-picker.ts'
import type { PieceSource } from '../sources/piece-source.ts'
import type { Store } from '../store/store.ts'
import { runSwarm } from './swarm.ts'
import type { SwarmRun } from './swarm.ts'

export type FetchOptions = {
  /** The bundle's id. */
  bundle: string
  store: Store
  /** Asks the manager who holds the bundle now. Called at once, at intervals, and when sources fail. */
  sources: (request: SourcesRequest) => Promise<Source[]>
  /** A store's folder on a shared filesystem, as a further source. */
  shared?: string
  /** Makes the connections, e.g. with the manager's certificate or through a proxy. Default: directly. */
  connect?: Connect
  log: Logger
  signal: AbortSignal
  /** How long to go on while sources can be asked and none of them knows the bundle, milliseconds. Default: a minute. */
  patienceMs?: number
  /** What to do otherwise than workers in one cluster do. */
  tuning?: Partial<Tuning>
  /** Bytes that are here, and in all. */
  onProgress?: (heldBytes: number, totalBytes: number) => void
}

/** How a fetch went. */
export type FetchReport = {
  bundle: string
  /** Size of the bundle, and how much of it was here before. */
  totalBytes: number
  foundBytes: number
  /** Bytes taken from each source, by its name. */
  from: { source: string; bytes: number }[]
  faults: Fault[]
  /** Milliseconds from the call to the bundle being complete; includes waiting for another process that fetched it. */
  ms: number
}

/** Pauses between asking who else holds the bundle, milliseconds: often at first, while others join. */
const ASK_FIRST_MS = 250
const ASK_MOST_MS = 15_000
/** The least pause once there are peers enough: the answers take the manager's link, too. Milliseconds. */
const ASK_ENOUGH_MS = 5_000
/** Least time between asking again because sources failed. */
const ASK_FAULTS_MS = 1_000
/** What is not in sight for this long was removed for good, also from the manager. */
const PATIENCE_MS = 60_000
/** How often a process looks whether another one on its node is done fetching, milliseconds. */
const TURN_MS = 200

/**
 * Fetches a bundle into the store, from many sources at once; returns when it is complete and laid out. Of several
 * processes that share the store one fetches and the others wait; if it dies, another goes on from what is there.
 *
 * @throws {BundleError} `no-room`, `disk`, `damaged`, or `not-found` if no source has it any more; the signal's reason.
 */
export async function fetchBundle(options: FetchOptions): Promise<FetchReport> {
  const { bundle, store, signal } = options
  const since = performance.now()
  for (;;) {
    const claim = await store.claimFetch(bundle)
    if (claim) {
      try {
        const report = await fetchClaimed(options)
        return { ...report, ms: performance.now() - since }
      } finally {
        await claim.release()
      }
    }
    await sleep(TURN_MS, undefined, { signal })
  }
}

async function fetchClaimed(options: FetchOptions): Promise<Omit<FetchReport, 'ms'>> {
  const { bundle, store, signal } = options
  if (await store.isComplete(bundle, signal)) {
    const bytes = totalBytes((await store.manifest(bundle))!)
    options.onProgress?.(bytes, bytes)
    return { bundle, totalBytes: bytes, foundBytes: bytes, from: [], faults: [] }
  }
  const tracker = trackSources(options)
  const known = await store.manifest(bundle)
  const { manifest, sources } = known
    ? { manifest: known, sources: [] }
    : await findManifest(options, tracker)
  const total = totalBytes(manifest)
  const pieces = await store.begin(bundle, manifest, signal)
  const foundBytes = pieces.heldBytes()
  const progress = () => options.onProgress?.(pieces.heldBytes(), total)
  progress()

  const run = runSwarm({
    pieces,
    tuning: options.tuning,
    log: options.log.child({ bundle }),
    signal,
    onFault: (fault) => tracker.report(fault),
    onProgress: progress,
  })
  const asking = new AbortController()
  const whileItRuns = AbortSignal.any([signal, asking.signal])
  void tracker.keepAsking(run, sources, () => [pieces.heldBytes(), total], whileItRuns)
  try {
    await run.finished
  } finally {
    asking.abort()
    await store.end(pieces)
  }
  await (await store.hold(bundle, signal))?.[Symbol.asyncDispose]()
  const from = [...run.from].map(([source, bytes]) => ({ source, bytes }))
  return { bundle, totalBytes: total, foundBytes, from, faults: tracker.faults }
}

type Tracker = {
  faults: Fault[]
  report(fault: Fault): void
  /** Asks the manager now. */
  ask(progress?: Partial<SourcesRequest>): Promise<PieceSource[]>
  /** Offers a running swarm sources until the signal fires; at first these, if there are any. */
  keepAsking(
    run: SwarmRun,
    first: PieceSource[],
    progress: () => [held: number, total: number],
    signal: AbortSignal,
  ): Promise<void>
}

/** Knows whom to ask for sources, and when. */
function trackSources({ bundle, sources, shared, connect, log }: FetchOptions): Tracker {
  const faults: Fault[] = []
  let unreported: Fault[] = []
  let hurry: (() => void) | undefined
  /** The newest ticket for each source, by its name. */
  const tickets = new Map<string, string>()

  const ask = async (progress: Partial<SourcesRequest> = {}): Promise<PieceSource[]> => {
    const request = { bundle, faults: unreported, heldBytes: 0, totalBytes: 0, from: [], ...progress }
    const answer = await sources(request)
    unreported = unreported.filter((fault) => !request.faults.includes(fault))
    for (const { name, ticket } of answer) tickets.set(name, ticket)
    return answer.map((source) => httpSource(bundle, source, connect, () => tickets.get(source.name)!))
  }
  const pause = async (ms: number, signal: AbortSignal) => {
    const early = new Promise<void>((resolve) => (hurry = resolve))
    const least = sleep(ASK_FAULTS_MS, undefined, { signal }).catch(() => {})
    await Promise.race([sleep(ms, undefined, { signal }), early]).catch(() => {})
    if (unreported.length > 0) await least
  }

  return {
    faults,
    report(fault) {
      faults.push(fault)
      unreported.push(fault)
      hurry?.()
    },
    ask,
    async keepAsking(run, first, progress, signal) {
      const offerMore = async () => {
        const [heldBytes, total] = progress()
        const from = [...run.from].map(([source, bytes]) => ({ source, bytes }))
        try {
          run.offer(await ask({ heldBytes, totalBytes: total, from }))
        } catch (error) {
          log.warn({ err: error, bundle }, 'the manager did not say who holds the bundle; asking again')
        }
      }
      if (shared !== undefined) run.offer([folderSource(bundle, shared)])
      run.offer(first)
      if (first.length === 0) await offerMore()
      for (let wait = ASK_FIRST_MS; !signal.aborted; wait = Math.min(wait * 2, ASK_MOST_MS)) {
        if (run.hasEnough()) wait = Math.max(wait, ASK_ENOUGH_MS)
        await pause(wait, signal)
        if (!signal.aborted) await offerMore()
      }
    },
  }
}

/** Gets the manifest from any source that has it, and keeps asking until one does. Also returns those who were asked. */
async function findManifest(
  { bundle, shared, log, signal, patienceMs = PATIENCE_MS }: FetchOptions,
  tracker: Tracker,
): Promise<{ manifest: Manifest; sources: PieceSource[] }> {
  let missingSince: number | undefined
  for (let wait = ASK_FIRST_MS; ; wait = Math.min(wait * 2, ASK_MOST_MS)) {
    const sources = await tracker.ask().catch((error: unknown) => {
      log.warn({ err: error, bundle }, 'the manager did not say who holds the bundle; asking again')
      return [] as PieceSource[]
    })
    const folder = shared === undefined ? [] : [folderSource(bundle, shared)]
    const manifest = await raceForManifest(
      [...folder, ...orderForManifest(sources, Math.random)],
      bundle,
      signal,
    )
    await Promise.all(folder.map((source) => source.close()))
    if (manifest) return { manifest, sources }
    await Promise.all(sources.map((source) => source.close()))
    signal.throwIfAborted()
    log.debug({ bundle }, 'no source has the manifest; asking again')
    // A manager that cannot be asked names no sources: that it is away says nothing about the bundle.
    missingSince = sources.length > 0 ? (missingSince ?? performance.now()) : undefined
    if (performance.now() - (missingSince ?? Infinity) > patienceMs) {
      throw new BundleError(
        'GLEANER_BUNDLE_NOT_FOUND',
        `no source has bundle ${bundle} any more: add its context again`,
      )
    }
    await sleep(wait, undefined, { signal })
  }
}
