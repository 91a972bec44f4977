import type { Logger } from 'pino'
import { PEERS } from '../../protocol/sources.ts'
import type { Fault } from '../../protocol/sources.ts'
import { has } from '../format/bitmap.ts'
import { BundleError } from '../format/errors.ts'
import {
  chooseRequests,
  defaultTuning,
  requestBegins,
  requestBrings,
  requestEnds,
  newSwarm,
  pieceArrives,
  sourceHas,
  sourceJoins,
  sourceLeaves,
  sourceRests,
  sourceWithholds,
} from '../policy/piece-picker.ts'
import type { NewRequest, RunRequest, Tuning } from '../policy/piece-picker.ts'
import type { StoredPieces } from '../store/stored-pieces.ts'
import { SourceError } from '../sources/piece-source.ts'
import type { PieceSource, PieceRequestOutcome } from '../sources/piece-source.ts'

/** How often decisions that wait for time to pass are looked at again, milliseconds. */
const TICK_MS = 50
/** Pause before a source that said it was busy is asked again, and the manager that said "ask peers". */
const BUSY_MS = 50
const SPREAD_MS = 150
/** Pause before the manager is tried again after it failed. Milliseconds. */
const MANAGER_PAUSE_MS = 1_000
/** The manager's copy counts as damaged after so many wrong pieces. */
const MANAGER_CORRUPT_MAX = 3

export type SwarmOptions = {
  pieces: StoredPieces
  tuning?: Partial<Tuning> | undefined
  log: Logger
  signal: AbortSignal
  /** Called with each source that was left out. */
  onFault: (fault: Fault) => void
  onProgress: () => void
}

/** A running fetch of one bundle's pieces from many sources. */
export type SwarmRun = {
  /** Resolves when every piece is stored; rejects when the disk fails or the signal fires. */
  finished: Promise<void>
  /** Uses these sources too, if it lacks any. Those it knows, also if they were left out, are not taken again. */
  offer(sources: PieceSource[]): void
  /** Whether more peers would be of no use now. */
  hasEnough(): boolean
  /** Bytes taken so far from each source. */
  from: Map<string, number>
}

export function runSwarm({ pieces, tuning, log, signal, onFault, onProgress }: SwarmOptions): SwarmRun {
  const { layout } = pieces
  const swarm = newSwarm(pieces.held, layout.pieces, (piece) => layout.place(piece).length, {
    ...defaultTuning,
    ...tuning,
  })
  const sources = new Map<string, PieceSource>()
  const leftOut = new Set<string>()
  const refused = new Set<string>()
  const runRequests = new Map<RunRequest, AbortController>()
  const from = new Map<string, number>()
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const over = new AbortController()
  let wrongFromManager = 0

  const decide = () => {
    if (over.signal.aborted) return
    if (pieces.heldPieces() === layout.pieces) return resolve()
    const now = performance.now()
    for (
      let ask = chooseRequests(swarm, now, Math.random);
      ask;
      ask = chooseRequests(swarm, now, Math.random)
    )
      void fly(ask)
  }
  /** Decides once for all that comes in one turn of the event loop. */
  let pending: NodeJS.Immediate | undefined
  const pump = () => {
    pending ??= setImmediate(() => {
      pending = undefined
      decide()
    })
  }

  const fly = async (ask: NewRequest): Promise<void> => {
    const runRequest = requestBegins(swarm, ask, performance.now())
    const source = sources.get(ask.source)!
    const stop = new AbortController()
    const since = performance.now()
    let bytes = 0
    runRequests.set(runRequest, stop)
    try {
      const outcome = await source.take(ask.kind === 'any' ? { want: ask.want, bytes: ask.bytes } : ask, {
        layout,
        signal: stop.signal,
        onRun: (first, count) => ask.kind === 'any' && requestBrings(swarm, runRequest, first, count),
        onPiece: async (piece, parts) => {
          bytes += layout.place(piece).length
          if (!(await pieces.add(piece, parts)))
            throw new SourceError('corrupt', `piece ${piece} is not what it should be`)
          // The same piece may have come from another source meanwhile.
          if (!has(swarm.held, piece)) arrived(piece, source.name)
        },
      })
      ended(source.name, outcome)
      requestEnds(
        swarm,
        runRequest,
        outcome === 'done' ? { bytes, ms: performance.now() - since } : undefined,
      )
    } catch (error) {
      requestEnds(swarm, runRequest)
      if (!stop.signal.aborted) failed(source, error)
    } finally {
      runRequests.delete(runRequest)
    }
    pump()
  }

  const ended = (name: string, outcome: PieceRequestOutcome) => {
    if (outcome === 'busy') sourceRests(swarm, name, performance.now() + BUSY_MS * (1 + Math.random()))
    if (outcome === 'none') sourceWithholds(swarm, name, performance.now() + SPREAD_MS * (1 + Math.random()))
  }

  const arrived = (piece: number, source: string) => {
    pieceArrives(swarm, piece)
    from.set(source, (from.get(source) ?? 0) + layout.place(piece).length)
    onProgress()
    for (const [{ first, count }, stop] of runRequests) {
      if (piece < first || piece >= first + count || swarm.requests[piece]! < 2) continue
      if (allHeld(first, count)) stop.abort()
    }
    pump()
  }
  const allHeld = (first: number, count: number): boolean => {
    for (let piece = first; piece < first + count; piece++) if (!has(swarm.held, piece)) return false
    return true
  }

  /** What failed is left out; but for the manager, which gets another chance, and our own disk, which ends it all. */
  const failed = (source: PieceSource, error: unknown) => {
    if (over.signal.aborted || sources.get(source.name) !== source) return
    if (!(error instanceof SourceError)) return reject(error)
    const { reason, message } = error
    if (source.kind === 'manager') {
      log.warn(
        { source: source.name, reason, detail: message },
        'the manager failed to send pieces; trying again',
      )
      sourceRests(swarm, source.name, performance.now() + MANAGER_PAUSE_MS)
      if (reason === 'corrupt' && ++wrongFromManager >= MANAGER_CORRUPT_MAX) {
        reject(
          new BundleError(
            'GLEANER_BUNDLE_DAMAGED',
            `the manager's copy of bundle ${pieces.bundle} is damaged; verify it there`,
          ),
        )
      }
      return
    }
    leave(source)
    // It may only not have begun yet, and is welcome when it is offered again; once.
    if (reason === 'refused' && !refused.has(source.name)) return void refused.add(source.name)
    leftOut.add(source.name)
    log.warn({ source: source.name, reason, detail: message }, 'left out a source of pieces')
    onFault({ source: source.name, reason, detail: message })
  }

  const leave = (source: PieceSource) => {
    sources.delete(source.name)
    for (const [runRequest, stop] of runRequests) if (runRequest.source === source.name) stop.abort()
    sourceLeaves(swarm, source.name)
    void source.close()
    pump()
  }

  const follow = async (source: PieceSource): Promise<void> => {
    try {
      await source.follow(
        layout,
        (news) => {
          if (sources.get(source.name) !== source) return
          const held = news === 'all' ? Array.from({ length: layout.pieces }, (_, piece) => piece) : news
          for (const piece of held) sourceHas(swarm, source.name, piece)
          pump()
        },
        over.signal,
      )
    } catch (error) {
      failed(source, error)
    }
  }

  const hasEnough = () => {
    const peers = [...sources.values()].filter(({ kind }) => kind === 'peer')
    return peers.length >= PEERS
  }

  const offer = (offered: PieceSource[]) => {
    for (const source of offered) {
      const known = sources.has(source.name) || leftOut.has(source.name)
      if (known || (source.kind === 'peer' && hasEnough()) || over.signal.aborted) {
        void source.close()
        continue
      }
      sources.set(source.name, source)
      sourceJoins(swarm, source.name, source.kind)
      if (source.kind !== 'manager') void follow(source)
    }
    pump()
  }

  const timer = setInterval(pump, TICK_MS)
  const abort = () => reject(signal.reason as Error)
  signal.addEventListener('abort', abort)
  if (signal.aborted) abort()
  const finished = promise.finally(async () => {
    clearInterval(timer)
    signal.removeEventListener('abort', abort)
    clearImmediate(pending)
    over.abort()
    for (const stop of runRequests.values()) stop.abort()
    await Promise.all([...sources.values()].map((source) => source.close()))
  })
  pump()
  return { finished, offer, hasEnough, from }
}
