import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { toTaskError } from '../../common/task-errors.ts'
import type { SlotGpus } from '../../protocol/library.ts'
import type { ContextSpec } from '../../protocol/contexts/context.ts'
import type { TaskError } from '../../protocol/task.ts'
import type { SessionEnd } from '../policy/crash-attribution.ts'
import { createWakeUp } from '../../common/wake-up.ts'
import type { LeasedTask } from '../tasks/task-queue.ts'
import type { LibraryEvent } from './library-event.ts'
import type { PrestartedProcess } from './prestarted-process.ts'
import { startLibrarySession, type LibrarySession, type LibrarySessionOptions } from './library-session.ts'
import type { Usage } from '../policy/library-eviction.ts'

/** Where each of a context's bundles is, by its name in the context. */
export type BundleFolders = Readonly<Record<string, string>>

/** A context whose files are here, or are known how to be had. */
export interface LoadableContext {
  spec: ContextSpec
  folders: BundleFolders
  /** Size of its files that are not an environment, bytes: about what it takes loaded. */
  bytes: number
  /** Set if each library has files of its own: brings them to a folder, where they stay until disposed of. */
  bring?: (folder: string, signal: AbortSignal) => Promise<{ folders: BundleFolders } & AsyncDisposable>
}

/** A context's stay in a slot: one library after the other, for as long as they die and may be started again. */
export interface LibrarySupervisor {
  readonly context: ContextSpec
  /** What its library takes as far as is known, bytes. */
  readonly usage: Usage
  /** When it last had a call, or came, on the process's monotonic clock. */
  readonly usedAt: number
  /** It has been told to go. */
  readonly leaving: boolean
  /** Calls its library has. */
  readonly calls: number
  /** How far those of its tasks are that say so. */
  readonly progress: LibrarySession['progress']
  /** Whether its library may be given calls. */
  readonly isOpen: boolean
  give(tasks: LeasedTask[]): void
  forget: LibrarySession['forget']
  /** Lets its library end what it has, and then goes. */
  retire(): void
  /** Ends its library at once and hands back what it had. */
  stop(): void
  /** Resolves when it is gone; with the reason, if the context cannot stay. */
  gone: Promise<TaskError | undefined>
}

export interface LibrarySupervisorOptions extends Omit<LibrarySessionOptions, 'setup' | 'early'> {
  slot: number
  /** A process for its first library. */
  prestarted?: PrestartedProcess | undefined
  context: LoadableContext
  /** Threads and accelerator for its libraries. */
  threads: number
  gpus: SlotGpus
  device: string
  /** What its library is expected to take, bytes. */
  need: Usage
  /** A library ends after its first task, and the next task gets another. */
  oneTask: boolean
}

/** A library that dies this often in a row with nothing to blame it on does not work here. */
const MAX_IDLE_CRASHES = 3

const FIRST_DELAY_MS = 100
const LONGEST_DELAY_MS = 10_000

export function superviseLibrary(options: LibrarySupervisorOptions): LibrarySupervisor {
  return new ContextStay(options)
}

class ContextStay implements LibrarySupervisor {
  readonly context: ContextSpec
  readonly gone: Promise<TaskError | undefined>
  usage: Usage
  usedAt = performance.now()
  leaving = false
  readonly #options: LibrarySupervisorOptions
  readonly #wakeUp = createWakeUp()
  /** Ends what is done while there is no session yet. */
  readonly #stopping = new AbortController()
  #session: LibrarySession | undefined
  /** Crashes since calls ended last, and those of them that had nothing to be blamed on. */
  #crashes = 0
  #idleCrashes = 0
  /** Libraries that ran out of memory. */
  #halvings = 0

  constructor(options: LibrarySupervisorOptions) {
    this.#options = options
    this.context = options.context.spec
    this.usage = options.need
    this.gone = this.#supervise()
  }

  get calls(): number {
    return this.#session?.calls ?? 0
  }

  get progress(): LibrarySession['progress'] {
    return this.#session?.progress ?? []
  }

  get isOpen(): boolean {
    return this.#session?.isOpen ?? false
  }

  give(tasks: LeasedTask[]): void {
    this.#session?.give(tasks)
  }

  forget(...which: Parameters<LibrarySession['forget']>): void {
    this.#session?.forget(...which)
  }

  retire(): void {
    this.#leave()
    this.#session?.retire()
  }

  stop(): void {
    this.#leave()
    this.#session?.stop()
  }

  #leave(): void {
    this.leaving = true
    this.#stopping.abort()
    this.#wakeUp.wake()
  }

  async #supervise(): Promise<TaskError | undefined> {
    const { folder, prestarted, slot, log } = this.#options
    const error = await this.#keepRunning().catch(toTaskError)
    prestarted?.close()
    await rm(folder, { recursive: true, force: true }).catch(() => {})
    if (error) log.error({ context: this.context.id, slot, error }, 'the context cannot be loaded')
    return error
  }

  /** Returns when the context has left, or with the reason why it cannot stay. */
  async #keepRunning(): Promise<TaskError | undefined> {
    const { folder, slot, oneTask, log, onEvent } = this.#options
    await mkdir(folder, { recursive: true })
    while (!this.leaving) {
      const end = await this.#prepareAndRun()
      if (end.how === 'retired') {
        if (this.leaving || !oneTask) return undefined
        onEvent({ type: 'unloaded' })
        continue
      }
      if (end.how === 'unready') return this.leaving ? undefined : end.error
      log.warn({ slot, error: end.error }, 'the library has died')
      onEvent({ type: 'unloaded' })
      if (end.starved) this.#halvings += 1
      this.#idleCrashes = end.idle ? this.#idleCrashes + 1 : 0
      if (this.#idleCrashes === MAX_IDLE_CRASHES) return end.error
      const pauseMs = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#crashes)
      this.#crashes += 1
      if (!this.leaving) await this.#wakeUp.wait(pauseMs)
    }
    return undefined
  }

  async #prepareAndRun(): Promise<SessionEnd> {
    const { context, folder, onEvent } = this.#options
    if (!context.bring) return this.#runSession(context.folders)
    onEvent({ type: 'fetching' })
    try {
      await using files = await context.bring(path.join(folder, 'files'), this.#stopping.signal)
      return await this.#runSession(files.folders)
    } catch (error) {
      if (this.leaving) return { how: 'retired' }
      throw error
    }
  }

  async #runSession(folders: BundleFolders): Promise<SessionEnd> {
    if (this.leaving) return { how: 'retired' }
    const { onEvent, need } = this.#options
    const startedAt = performance.now()
    let isLoaded = false
    onEvent({ type: 'loading' })
    this.#session = startLibrarySession({
      ...this.#options,
      setup: this.#setup(folders),
      onEvent: (event) => {
        if (event.type === 'loaded') isLoaded = true
        // While it loads, it will take what is expected, or it takes more already.
        if (event.type === 'measured' && !isLoaded && event.usage.memory <= need.memory) return
        if (event.type === 'measured') this.#noteUsage(event.usage)
        onEvent(event.type === 'calls-ended' ? this.#noteEnded(event, startedAt) : event)
      },
    })
    return this.#session.over
  }

  #setup(folders: BundleFolders): LibrarySessionOptions['setup'] {
    const { blobs, threads, gpus, device } = this.#options
    return {
      ...{ type: 'setup', context: this.context, bundles: { ...folders }, blobs: blobs.folder },
      ...{ threads, gpus, device },
      ...(this.#halvings > 0 && { halvings: this.#halvings }),
    }
  }

  #noteUsage({ memory, device }: Usage): void {
    this.usage = { memory, device: device || this.#options.need.device }
  }

  /** With a library of its own, what a task takes begins with that, and ends it. */
  #noteEnded(event: Extract<LibraryEvent, { type: 'calls-ended' }>, startedAt: number): LibraryEvent {
    this.#crashes = 0
    this.usedAt = performance.now()
    if (!this.#options.oneTask) return event
    this.#session?.retire()
    return { ...event, busyMs: this.usedAt - startedAt }
  }
}
