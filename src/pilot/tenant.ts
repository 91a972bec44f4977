import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { toTaskError } from '../library/errors.ts'
import type { ContextSpec } from '../protocol/context.ts'
import type { TaskError } from '../protocol/task.ts'
import type { LifeEnd } from './autopsy.ts'
import { createBell } from './bell.ts'
import type { ContextEvent } from './context.ts'
import type { EarlyProcess } from './early-process.ts'
import { beginLife, type Life, type LifeOptions } from './life.ts'
import type { Usage } from './residents.ts'

/** Where each of a context's bundles is, by its name in the context. */
export type Folders = Readonly<Record<string, string>>

/** A context whose files are here, or are known how to be had. */
export interface Loadable {
  spec: ContextSpec
  folders: Folders
  /** Size of its files that are not an environment, bytes: about what it takes loaded. */
  bytes: number
  /** Set if each library has files of its own: brings them to a folder, where they stay until disposed of. */
  bring?: (folder: string, signal: AbortSignal) => Promise<{ folders: Folders } & AsyncDisposable>
}

/** A context's stay in a slot: one library after the other, for as long as they die and may be started again. */
export interface Tenant {
  /** What its library takes as far as is known, bytes. */
  readonly usage: Usage
  /** When it last had a call, or came, on the process's monotonic clock. */
  readonly usedAt: number
  /** It has been told to go. */
  readonly leaving: boolean
  /** Calls its library has. */
  readonly calls: number
  /** How far those of its tasks are that say so. */
  readonly progress: Life['progress']
  feed(): void
  forget: Life['forget']
  /** Lets its library end what it has, and then goes. */
  retire(): void
  /** Ends its library at once and hands back what it had. */
  stop(): void
  /** Resolves when it is gone; with the reason, if the context cannot stay. */
  gone: Promise<TaskError | undefined>
}

export interface TenantOptions extends Omit<LifeOptions, 'setup' | 'early' | 'onReady' | 'onUsage'> {
  slot: number
  /** A process for its first library. */
  early?: EarlyProcess | undefined
  context: Loadable
  /** Threads and accelerator for its libraries. */
  threads: number
  device: string
  /** What its library is expected to take, bytes. */
  need: Usage
  /** A library ends after its first task, and the next task gets another. */
  oneTask: boolean
  onContext: (event: ContextEvent) => void
  /** What its library takes has been found out; `device` is 0 where the driver does not tell. */
  onUsage: (measured: Usage) => void
}

/** A library that dies this often in a row with nothing to blame it on does not work here. */
const MAX_IDLE_DEATHS = 3

const FIRST_DELAY_MS = 100
const LONGEST_DELAY_MS = 10_000

export function admit(options: TenantOptions): Tenant {
  const { slot, context, folder, need, oneTask, log, onContext } = options
  const { spec } = context
  const bell = createBell()
  /** Ends what is done while there is no life yet. */
  const stopping = new AbortController()
  let life: Life | undefined
  let usage = need
  let usedAt = performance.now()
  let leaving = false

  async function stay(): Promise<TaskError | undefined> {
    const error = await keepAlive().catch(toTaskError)
    options.early?.close()
    await rm(folder, { recursive: true, force: true }).catch(() => {})
    if (error) log.error({ context: spec.id, slot, error }, 'the context cannot be loaded')
    return error
  }

  /** Returns when the context has left, or with the reason why it cannot stay. */
  async function keepAlive(): Promise<TaskError | undefined> {
    await mkdir(folder, { recursive: true })
    let deaths = 0
    let idleDeaths = 0
    while (!leaving) {
      const end = await prepareAndLive(() => (deaths = 0))
      if (end.how === 'retired') {
        if (leaving || !oneTask) return undefined
        onContext({ type: 'unloaded', slot })
        continue
      }
      if (end.how === 'unready') return leaving ? undefined : end.error
      log.warn({ slot, error: end.error }, 'the library has died')
      onContext({ type: 'unloaded', slot })
      idleDeaths = end.idle ? idleDeaths + 1 : 0
      if (idleDeaths === MAX_IDLE_DEATHS) return end.error
      if (!leaving) await bell.wait(Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** deaths++))
    }
    return undefined
  }

  async function prepareAndLive(onProgress: () => void): Promise<LifeEnd> {
    if (!context.bring) return liveOnce(context.folders, onProgress)
    onContext({ type: 'fetching', slot })
    try {
      await using files = await context.bring(path.join(folder, 'files'), stopping.signal)
      return await liveOnce(files.folders, onProgress)
    } catch (error) {
      if (leaving) return { how: 'retired' }
      throw error
    }
  }

  async function liveOnce(folders: Folders, onProgress: () => void): Promise<LifeEnd> {
    if (leaving) return { how: 'retired' }
    const { blobs, threads, device } = options
    const bornAt = performance.now()
    let ready = false
    onContext({ type: 'loading', slot })
    life = beginLife({
      ...options,
      setup: { type: 'setup', context: spec, bundles: { ...folders }, blobs: blobs.folder, threads, device },
      onReady(level, memory) {
        ready = true
        onContext({ type: 'loaded', slot, level, memory })
      },
      onUsage(measured) {
        // While it loads, it will take what is expected, or it takes more already.
        if (!ready && measured.memory <= need.memory) return
        usage = { memory: measured.memory, device: measured.device || need.device }
        options.onUsage(measured)
      },
      onEnded(calls, busyMs, longestMs) {
        onProgress()
        usedAt = performance.now()
        // With a library of its own, what a task takes begins with that.
        options.onEnded(calls, oneTask ? usedAt - bornAt : busyMs, longestMs)
        if (oneTask) life?.retire()
      },
    })
    return life.over
  }

  return {
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
      return life?.calls ?? 0
    },
    get progress() {
      return life?.progress ?? []
    },
    feed: () => life?.feed(),
    forget: (isGone, isCancelled) => life?.forget(isGone, isCancelled),
    retire() {
      leaving = true
      stopping.abort()
      life?.retire()
      bell.ring()
    },
    stop() {
      leaving = true
      stopping.abort()
      life?.stop()
      bell.ring()
    },
    gone: stay(),
  }
}
