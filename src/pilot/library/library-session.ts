import type { Level } from '../../protocol/contexts/context.ts'
import { endsCalls } from '../../protocol/contexts/library-traits.ts'
import type { FromLibrary } from '../../protocol/library.ts'
import type { TaskError } from '../../protocol/task.ts'
import type { ExchangeRequest } from '../../protocol/worker.ts'
import {
  attributeCrash,
  explainSetupError,
  type LibraryPhase,
  MEMORY_LIMIT,
  type SessionEnd,
} from '../policy/crash-attribution.ts'
import { nameBundles } from '../policy/name-bundles-in-errors.ts'
import type { BlobCache } from '../tasks/blob-cache.ts'
import type { CallResult } from '../tasks/in-flight-calls.ts'
import type { LeasedTask } from '../tasks/task-queue.ts'
import type { PartSender } from '../uplink/part-sender.ts'
import { LibraryCalls } from './library-calls.ts'
import type { LibraryEvent } from './library-event.ts'
import { type LibraryOptions, type LibraryProcess, startLibrary } from './library-process.ts'

/** One library process, from its setup to its end, whichever way that comes. */
export interface LibrarySession {
  /** Whether it may be given calls: it is set up, stays, and runs no task that must be alone. */
  readonly isOpen: boolean
  /** Calls it with these tasks; only while it is open. */
  give(tasks: LeasedTask[]): void
  /**
   * Forgets calls that have not begun and are no longer this worker's. Those that have begun go on; cancelled ones for a
   * while only.
   */
  forget(isGone: (task: LeasedTask) => boolean, isCancelled: (task: LeasedTask) => boolean): void
  /** Lets it end what it has, and no more. */
  retire(): void
  /** Ends it now; its calls go back to the manager. */
  stop(): void
  /** Calls it has. */
  readonly calls: number
  /** How far those of its tasks are that say so. */
  readonly progress: NonNullable<ExchangeRequest['progress']>
  readonly over: Promise<SessionEnd>
}

export interface LibrarySessionOptions extends LibraryOptions {
  /** Brings the blobs of inputs, and sends those of values. */
  blobs: BlobCache
  /** Takes parts of values to the manager. */
  partSender: PartSender
  /** Longest its setup may take, milliseconds. */
  setupLimitMs: number
  /** A call that was cancelled may go on at least this long, milliseconds. Default: 10 s. */
  cancelledMs?: number
  /** Aborts when the batch system takes the node back. */
  evicted: AbortSignal
  onEvent: (event: LibraryEvent) => void
}

const MEMORY_CHECK_MS = 1_000
const CANCELLED_MS = 10_000

export function startLibrarySession(options: LibrarySessionOptions): LibrarySession {
  return new RunningSession(options)
}

class RunningSession implements LibrarySession {
  readonly over: Promise<SessionEnd>
  readonly #options: LibrarySessionOptions
  readonly #library: LibraryProcess
  readonly #calls: LibraryCalls
  readonly #setupTimer: NodeJS.Timeout
  readonly #memoryTimer: NodeJS.Timeout
  readonly #begunAt = performance.now()
  #phase: LibraryPhase = 'setup'
  /** Why this worker killed or ended the library; undefined if it ended by itself, or runs. */
  #cause: { name: string; message: string } | undefined
  /** What it takes to bring up another one, milliseconds. */
  #setupMs = 0

  constructor(options: LibrarySessionOptions) {
    const { blobs, partSender, setupLimitMs, onEvent } = options
    this.#options = options
    this.#library = startLibrary(options)
    this.#calls = new LibraryCalls({
      ...{ blobs, partSender, onEvent },
      library: this.#library,
      canEndCalls: endsCalls(options.setup.context.spec),
      onWithdrawn: () => this.#closeIfDone(),
      onStuck: (name, message) => this.#kill(name, message),
    })
    this.#setupTimer = setTimeout(() => {
      this.#kill('SetupTimeLimit', `setup was not done after ${setupLimitMs / 1000} s, its time limit`)
    }, setupLimitMs)
    this.#memoryTimer = setInterval(() => void this.#checkMemory(), MEMORY_CHECK_MS)
    this.over = this.#run()
  }

  get isOpen(): boolean {
    return this.#phase === 'ready' && !this.#calls.isAlone
  }

  get calls(): number {
    return this.#calls.count
  }

  get progress(): LibrarySession['progress'] {
    return this.#calls.progress
  }

  give(tasks: LeasedTask[]): void {
    this.#calls.give(tasks)
  }

  forget(isGone: (task: LeasedTask) => boolean, isCancelled: (task: LeasedTask) => boolean): void {
    const cancelledMs = Math.max(this.#setupMs, this.#options.cancelledMs ?? CANCELLED_MS)
    this.#calls.forget(isGone, isCancelled, cancelledMs)
    this.#closeIfDone()
  }

  retire(): void {
    if (this.#phase === 'setup') return this.stop()
    if (this.#phase === 'ready') this.#phase = 'retiring'
    this.#closeIfDone()
  }

  stop(): void {
    this.#phase = 'stopped'
    this.#library.kill()
  }

  #kill(name: string, message: string): void {
    this.#cause ??= { name, message }
    this.#library.kill()
  }

  #closeIfDone(): void {
    if (this.#phase === 'retiring' && this.#calls.count === 0) this.#library.close()
  }

  async #run(): Promise<SessionEnd> {
    const { setup, log } = this.#options
    try {
      for await (const message of this.#library.messages) await this.#receive(message)
    } catch (error) {
      this.#kill('ProtocolError', (error as Error).message)
    }
    clearTimeout(this.#setupTimer)
    clearInterval(this.#memoryTimer)
    this.#calls.stopWatching()
    this.#library.close()
    const end = await this.#end()
    log.debug({ context: setup.context.id, end }, 'the library has ended')
    return end
  }

  async #receive(message: FromLibrary): Promise<void> {
    switch (message.type) {
      case 'ready':
        return this.#becomeReady(message.level)
      case 'failed':
        this.#cause = explainSetupError(this.#named(message.error), toMib(this.#options.memoryLimit))
        return this.#library.close()
      case 'begun':
        return this.#calls.markBegun(message.ids)
      case 'progress':
        return this.#calls.noteProgress(message.calls)
      case 'parts':
        return this.#calls.sendParts(message.parts)
      case 'ended': {
        const results = message.calls.map((result) => this.#nameIn(result))
        this.#calls.end(results, message.ms / Math.max(1, results.length))
        return this.#closeIfDone()
      }
    }
  }

  async #becomeReady(level: Level): Promise<void> {
    const { memoryLimit, onEvent } = this.#options
    clearTimeout(this.#setupTimer)
    const usage = await this.#library.usage()
    const { memory } = usage
    if (memory > memoryLimit) {
      const has = `and its slot has ${toMib(memoryLimit)}: ask for pilots with more memory`
      return this.#kill(MEMORY_LIMIT, `the loaded context takes ${toMib(memory)} MiB, ${has}`)
    }
    if (this.#phase !== 'setup') return
    this.#phase = 'ready'
    this.#setupMs = performance.now() - this.#begunAt
    onEvent({ type: 'loaded', level, memory })
    onEvent({ type: 'measured', usage })
  }

  /** Between calls, a library that has grown too large is let go; its slot starts another. */
  async #checkMemory(): Promise<void> {
    const { memoryLimit, onEvent } = this.#options
    if (this.#phase === 'retiring') return
    const usage = await this.#library.usage()
    if (this.#phase === 'setup' || this.#phase === 'ready') onEvent({ type: 'measured', usage })
    const { memory } = usage
    if (memory <= memoryLimit || this.#phase !== 'ready') return
    this.#cause = { name: MEMORY_LIMIT, message: `it used ${toMib(memory)} MiB of ${toMib(memoryLimit)}` }
    this.#phase = 'retiring'
    this.#closeIfDone()
  }

  /** Waits for the process to be gone, and says what its end means for it and for its calls. */
  async #end(): Promise<SessionEnd> {
    const exit = await this.#library.exited
    const evicted = this.#options.evicted.aborted
    const death = { phase: this.#phase, cause: this.#cause, exit, evicted, now: performance.now() }
    const attribution = attributeCrash(death, this.#calls.inFlight)
    this.#phase = 'stopped'
    this.#calls.endAll(attribution)
    return attribution.end
  }

  #nameIn(result: CallResult): CallResult {
    return 'error' in result && result.error ? { ...result, error: this.#named(result.error) } : result
  }

  /** An error that speaks of bundles by their names in the context. */
  #named(error: TaskError): TaskError {
    return nameBundles(error, this.#options.setup.bundles)
  }
}

function toMib(bytes: number): number {
  return Math.round(bytes / 2 ** 20)
}
