import type { Logger } from 'pino'
import { PEERS } from '../../protocol/piece-sources.ts'
import type { Fault } from '../../protocol/piece-sources.ts'
import { has } from '../format/bitmap.ts'
import { BundleError } from '../format/errors.ts'
import type { PieceLayout } from '../format/piece-layout.ts'
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
import type { NewRequest, RunRequest, Swarm, Tuning } from '../policy/piece-picker.ts'
import { createBufferPool } from '../store/buffer-pool.ts'
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

export function runSwarm(options: SwarmOptions): SwarmRun {
  return new SwarmFetch(options)
}

class SwarmFetch implements SwarmRun {
  readonly from = new Map<string, number>()
  readonly finished: Promise<void>
  readonly #options: SwarmOptions
  readonly #pieces: StoredPieces
  readonly #layout: PieceLayout
  readonly #buffers = createBufferPool()
  /** What the piece picker knows. */
  readonly #state: Swarm
  readonly #sources = new Map<string, PieceSource>()
  readonly #leftOut = new Set<string>()
  readonly #refused = new Set<string>()
  readonly #runRequests = new Map<RunRequest, AbortController>()
  readonly #done = Promise.withResolvers<void>()
  readonly #over = new AbortController()
  readonly #timer = setInterval(() => this.#pump(), TICK_MS)
  #pending: NodeJS.Immediate | undefined
  #wrongFromManager = 0

  constructor(options: SwarmOptions) {
    const { pieces, tuning, signal } = options
    const { layout } = pieces
    this.#options = options
    this.#pieces = pieces
    this.#layout = layout
    this.#state = newSwarm(pieces.held, layout.pieces, (piece) => layout.place(piece).length, {
      ...defaultTuning,
      ...tuning,
    })
    const abort = () => this.#done.reject(signal.reason as Error)
    signal.addEventListener('abort', abort)
    if (signal.aborted) abort()
    this.finished = this.#done.promise.finally(() => {
      signal.removeEventListener('abort', abort)
      return this.#close()
    })
    this.#pump()
  }

  offer(offered: PieceSource[]): void {
    for (const source of offered) {
      const { name, kind } = source
      const known = this.#sources.has(name) || this.#leftOut.has(name)
      if (known || (kind === 'peer' && this.hasEnough()) || this.#over.signal.aborted) {
        void source.close()
        continue
      }
      this.#sources.set(name, source)
      sourceJoins(this.#state, name, kind)
      if (kind !== 'manager') void this.#follow(source)
    }
    this.#pump()
  }

  hasEnough(): boolean {
    const peers = [...this.#sources.values()].filter(({ kind }) => kind === 'peer')
    return peers.length >= PEERS
  }

  async #close(): Promise<void> {
    clearInterval(this.#timer)
    clearImmediate(this.#pending)
    this.#over.abort()
    for (const stop of this.#runRequests.values()) stop.abort()
    await Promise.all([...this.#sources.values()].map((source) => source.close()))
  }

  /** Decides once for all that comes in one turn of the event loop. */
  #pump(): void {
    this.#pending ??= setImmediate(() => {
      this.#pending = undefined
      this.#decide()
    })
  }

  #decide(): void {
    if (this.#over.signal.aborted) return
    if (this.#pieces.heldPieces() === this.#layout.pieces) return this.#done.resolve()
    const now = performance.now()
    const choose = () => chooseRequests(this.#state, now, Math.random)
    for (let ask = choose(); ask; ask = choose()) void this.#request(ask)
  }

  /** Asks a source for pieces, and takes in what comes. */
  async #request(ask: NewRequest): Promise<void> {
    const runRequest = requestBegins(this.#state, ask, performance.now())
    const source = this.#sources.get(ask.source)!
    const stop = new AbortController()
    const since = performance.now()
    let bytes = 0
    this.#runRequests.set(runRequest, stop)
    try {
      const outcome = await source.take(ask.kind === 'any' ? { want: ask.want, bytes: ask.bytes } : ask, {
        layout: this.#layout,
        signal: stop.signal,
        onRun: (first, count) => ask.kind === 'any' && requestBrings(this.#state, runRequest, first, count),
        buffers: this.#buffers,
        onPiece: async (piece, came) => {
          bytes += came.length
          await this.#store(piece, came, source.name)
        },
      })
      this.#rest(source.name, outcome)
      const measured = outcome === 'done' ? { bytes, ms: performance.now() - since } : undefined
      requestEnds(this.#state, runRequest, measured)
    } catch (error) {
      requestEnds(this.#state, runRequest)
      if (!stop.signal.aborted) this.#failed(source, error)
    } finally {
      this.#runRequests.delete(runRequest)
    }
    this.#pump()
  }

  /** A source that has nothing for this worker now is left alone for a moment. */
  #rest(name: string, outcome: PieceRequestOutcome): void {
    const now = performance.now()
    if (outcome === 'busy') sourceRests(this.#state, name, now + BUSY_MS * (1 + Math.random()))
    if (outcome === 'none') sourceWithholds(this.#state, name, now + SPREAD_MS * (1 + Math.random()))
  }

  async #store(piece: number, bytes: Buffer, source: string): Promise<void> {
    if (!(await this.#pieces.add(piece, bytes)))
      throw new SourceError('corrupt', `piece ${piece} is not what it should be`)
    // The same piece may have come from another source meanwhile.
    if (!has(this.#state.held, piece)) this.#arrived(piece, source)
  }

  #arrived(piece: number, source: string): void {
    pieceArrives(this.#state, piece)
    this.from.set(source, (this.from.get(source) ?? 0) + this.#layout.place(piece).length)
    this.#options.onProgress()
    for (const [{ first, count }, stop] of this.#runRequests) {
      if (piece < first || piece >= first + count || this.#state.requests[piece]! < 2) continue
      if (this.#hasAll(first, count)) stop.abort()
    }
    this.#pump()
  }

  #hasAll(first: number, count: number): boolean {
    for (let piece = first; piece < first + count; piece++) if (!has(this.#state.held, piece)) return false
    return true
  }

  /** Learns which pieces a source has, from now on. */
  async #follow(source: PieceSource): Promise<void> {
    const { pieces } = this.#layout
    const onHeld = (news: number[] | 'all') => {
      if (this.#sources.get(source.name) !== source) return
      const held = news === 'all' ? Array.from({ length: pieces }, (_, piece) => piece) : news
      for (const piece of held) sourceHas(this.#state, source.name, piece)
      this.#pump()
    }
    try {
      await source.follow(this.#layout, onHeld, this.#over.signal)
    } catch (error) {
      this.#failed(source, error)
    }
  }

  /** What failed is left out; but for the manager, which gets another chance, and our own disk, which ends it all. */
  #failed(source: PieceSource, error: unknown): void {
    if (this.#over.signal.aborted || this.#sources.get(source.name) !== source) return
    if (!(error instanceof SourceError)) return this.#done.reject(error)
    if (source.kind === 'manager') return this.#managerFailed(source.name, error)
    const { reason, message: detail } = error
    this.#leave(source)
    // It may only not have begun yet, and is welcome when it is offered again; once.
    if (reason === 'refused' && !this.#refused.has(source.name)) return void this.#refused.add(source.name)
    this.#leftOut.add(source.name)
    this.#options.log.warn({ source: source.name, reason, detail }, 'left out a source of pieces')
    this.#options.onFault({ source: source.name, reason, detail })
  }

  #managerFailed(source: string, { reason, message: detail }: SourceError): void {
    this.#options.log.warn({ source, reason, detail }, 'the manager failed to send pieces; trying again')
    sourceRests(this.#state, source, performance.now() + MANAGER_PAUSE_MS)
    if (reason !== 'corrupt' || ++this.#wrongFromManager < MANAGER_CORRUPT_MAX) return
    const damaged = `the manager's copy of bundle ${this.#pieces.bundle} is damaged; verify it there`
    this.#done.reject(new BundleError('GLEANER_BUNDLE_DAMAGED', damaged))
  }

  #leave(source: PieceSource): void {
    this.#sources.delete(source.name)
    for (const [{ source: asked }, stop] of this.#runRequests) if (asked === source.name) stop.abort()
    sourceLeaves(this.#state, source.name)
    void source.close()
    this.#pump()
  }
}
