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
  const { slot, context, folder, need, oneTask, log, onEvent } = options
  const { spec } = context
  const wakeUp = createWakeUp()
  /** Ends what is done while there is no session yet. */
  const stopping = new AbortController()
  let session: LibrarySession | undefined
  let usage = need
  let usedAt = performance.now()
  let leaving = false
  /** Crashes since calls ended last, and those of them that had nothing to be blamed on. */
  let crashes = 0
  let idleCrashes = 0
  /** Libraries that ran out of memory. */
  let halvings = 0

  async function supervise(): Promise<TaskError | undefined> {
    const error = await keepRunning().catch(toTaskError)
    options.prestarted?.close()
    await rm(folder, { recursive: true, force: true }).catch(() => {})
    if (error) log.error({ context: spec.id, slot, error }, 'the context cannot be loaded')
    return error
  }

  /** Returns when the context has left, or with the reason why it cannot stay. */
  async function keepRunning(): Promise<TaskError | undefined> {
    await mkdir(folder, { recursive: true })
    while (!leaving) {
      const end = await prepareAndRun()
      if (end.how === 'retired') {
        if (leaving || !oneTask) return undefined
        onEvent({ type: 'unloaded' })
        continue
      }
      if (end.how === 'unready') return leaving ? undefined : end.error
      log.warn({ slot, error: end.error }, 'the library has died')
      onEvent({ type: 'unloaded' })
      if (end.starved) halvings += 1
      idleCrashes = end.idle ? idleCrashes + 1 : 0
      if (idleCrashes === MAX_IDLE_CRASHES) return end.error
      if (!leaving) await wakeUp.wait(Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** crashes++))
    }
    return undefined
  }

  async function prepareAndRun(): Promise<SessionEnd> {
    if (!context.bring) return runSession(context.folders)
    onEvent({ type: 'fetching' })
    try {
      await using files = await context.bring(path.join(folder, 'files'), stopping.signal)
      return await runSession(files.folders)
    } catch (error) {
      if (leaving) return { how: 'retired' }
      throw error
    }
  }

  async function runSession(folders: BundleFolders): Promise<SessionEnd> {
    if (leaving) return { how: 'retired' }
    const { blobs, threads, gpus, device } = options
    const startedAt = performance.now()
    let isLoaded = false
    onEvent({ type: 'loading' })
    session = startLibrarySession({
      ...options,
      setup: {
        ...{
          type: 'setup',
          context: spec,
          bundles: { ...folders },
          blobs: blobs.folder,
          threads,
          gpus,
          device,
        },
        ...(halvings > 0 && { halvings }),
      },
      onEvent(event) {
        if (event.type === 'loaded') isLoaded = true
        // While it loads, it will take what is expected, or it takes more already.
        if (event.type === 'measured' && !isLoaded && event.usage.memory <= need.memory) return
        if (event.type === 'measured') noteUsage(event.usage)
        onEvent(event.type === 'calls-ended' ? noteEnded(event, startedAt) : event)
      },
    })
    return session.over
  }

  function noteUsage({ memory, device }: Usage) {
    usage = { memory, device: device || need.device }
  }

  /** With a library of its own, what a task takes begins with that, and ends it. */
  function noteEnded(event: Extract<LibraryEvent, { type: 'calls-ended' }>, startedAt: number): LibraryEvent {
    crashes = 0
    usedAt = performance.now()
    if (!oneTask) return event
    session?.retire()
    return { ...event, busyMs: usedAt - startedAt }
  }

  return {
    context: spec,
    get usage() {
      return usage
    },
    get usedAt() {
      return usedAt
    },
    get leaving() {
      return leaving
    },
    get calls() {
      return session?.calls ?? 0
    },
    get progress() {
      return session?.progress ?? []
    },
    get isOpen() {
      return session?.isOpen ?? false
    },
    give: (tasks) => session?.give(tasks),
    forget: (isGone, isCancelled) => session?.forget(isGone, isCancelled),
    retire() {
      leaving = true
      stopping.abort()
      session?.retire()
      wakeUp.wake()
    },
    stop() {
      leaving = true
      stopping.abort()
      session?.stop()
      wakeUp.wake()
    },
    gone: supervise(),
  }
}
