import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Logger } from 'pino'
import { toTaskError } from '../library/errors.ts'
import type { ContextSpec } from '../protocol/context.ts'
import type { TaskError } from '../protocol/task.ts'
import type { Blobs } from './blobs.ts'
import { createBell } from './bell.ts'
import type { ContextEvent } from './context.ts'
import type { Hand, HeldTask } from './hand.ts'
import type { LifeEnd } from './autopsy.ts'
import { beginLife, type Life } from './life.ts'
import type { SlotPlan } from './slot-plan.ts'

/** Where each of a context's bundles is, by its name in the context. */
export type Folders = Readonly<Record<string, string>>

/** A context whose files are here, or are known how to be had. */
export interface Loadable {
  spec: ContextSpec
  folders: Folders
  /** Set if each library has files of its own: brings them to a folder, where they stay until disposed of. */
  bring?: (folder: string, signal: AbortSignal) => Promise<{ folders: Folders } & AsyncDisposable>
}

/** One slot and the library it holds, if any. */
export interface SlotRunner {
  /** The context it holds or is loading. */
  readonly context: string | undefined
  /** Its library has been told to go. */
  readonly leaving: boolean
  /** When it last had a call, on the process's monotonic clock. */
  readonly usedAt: number
  /** Loads a context; the slot must be empty. A library that dies is started again. */
  load(context: Loadable): void
  /** Gives its library calls from the hand, if it has room for any. */
  feed(): void
  forget(isGone: (task: HeldTask) => boolean): void
  /** Lets its library end what it has, and then go. */
  retire(): void
  /** Ends its library at once and hands back what it had. Resolves when the slot is empty. */
  stop(): Promise<void>
}

export interface SlotOptions {
  index: number
  plan: SlotPlan
  hand: Hand
  blobs: Blobs
  /** Folder for its libraries' temporary files. */
  scratch: string
  setupLimitMs: number
  evicted: AbortSignal
  /** A library ends after its first task, and the next task gets another. */
  oneTask: boolean
  log: Logger
  /** How many calls a library of this context should have. */
  window: (context: ContextSpec) => number
  /** Something happened to a context here. When its library has gone for good, the slot is empty already. */
  onContext: (context: string, event: ContextEvent) => void
  onEnded: (context: string, calls: number, busyMs: number, longestMs: number) => void
  /** A task of this context has an outcome besides those that ended just now. */
  onOutcome: (context: string) => void
}

/** A library that dies this often in a row with nothing to blame it on does not work here. */
const MAX_IDLE_DEATHS = 3

const FIRST_DELAY_MS = 100
const LONGEST_DELAY_MS = 10_000

/** The context that occupies the slot. */
interface Tenant {
  context: Loadable
  life: Life | undefined
  leaving: boolean
  /** Ends what is done for it while it has no life yet. */
  stop: AbortController
  gone: Promise<void>
}

export function createSlot(options: SlotOptions): SlotRunner {
  const { index, plan, onContext, log } = options
  const folder = path.join(options.scratch, `slot-${index}`)
  const bell = createBell()
  let tenant: Tenant | undefined
  let usedAt = 0

  async function house(own: Tenant): Promise<void> {
    const context = own.context.spec.id
    const error = await keepAlive(own).catch(toTaskError)
    await rm(folder, { recursive: true, force: true }).catch(() => {})
    tenant = undefined
    if (error) log.error({ context, slot: index, error }, 'the context cannot be loaded')
    onContext(context, error ? { type: 'failed', slot: index, error } : { type: 'unloaded', slot: index })
  }

  /** Returns when the context has left, or with the reason why it cannot stay. */
  async function keepAlive(own: Tenant): Promise<TaskError | undefined> {
    await mkdir(folder, { recursive: true })
    let deaths = 0
    let idleDeaths = 0
    while (!own.leaving) {
      const end = await prepareAndLive(own, () => (deaths = 0))
      if (end.how === 'retired') {
        if (own.leaving || !options.oneTask) return undefined
        onContext(own.context.spec.id, { type: 'unloaded', slot: index })
        continue
      }
      if (end.how === 'unready') return own.leaving ? undefined : end.error
      log.warn({ slot: index, error: end.error }, 'the library has died')
      onContext(own.context.spec.id, { type: 'unloaded', slot: index })
      idleDeaths = end.idle ? idleDeaths + 1 : 0
      if (idleDeaths === MAX_IDLE_DEATHS) return end.error
      if (!own.leaving) await bell.wait(Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** deaths++))
    }
    return undefined
  }

  async function prepareAndLive(own: Tenant, onProgress: () => void): Promise<LifeEnd> {
    const { spec, folders, bring } = own.context
    if (!bring) return liveOnce(own, folders, onProgress)
    onContext(spec.id, { type: 'fetching', slot: index })
    try {
      await using files = await bring(path.join(folder, 'files'), own.stop.signal)
      return await liveOnce(own, files.folders, onProgress)
    } catch (error) {
      if (own.leaving) return { how: 'retired' }
      throw error
    }
  }

  async function liveOnce(own: Tenant, folders: Folders, onProgress: () => void): Promise<LifeEnd> {
    if (own.leaving) return { how: 'retired' }
    const { spec } = own.context
    const bornAt = performance.now()
    onContext(spec.id, { type: 'loading', slot: index })
    own.life = beginLife({
      setup: {
        type: 'setup',
        context: spec,
        bundles: { ...folders },
        blobs: options.blobs.folder,
        threads: Math.max(1, Math.floor(plan.slot.cpus)),
        device: plan.slot.device,
      },
      env: plan.env,
      folder,
      memoryLimit: plan.memoryLimit,
      setupLimitMs: options.setupLimitMs,
      hand: options.hand,
      blobs: options.blobs,
      evicted: options.evicted,
      log,
      window: () => options.window(spec),
      onReady: (level, memory) => onContext(spec.id, { type: 'loaded', slot: index, level, memory }),
      onOutcome: () => options.onOutcome(spec.id),
      onEnded(calls, busyMs, longestMs) {
        onProgress()
        usedAt = performance.now()
        // With a library of its own, what a task takes begins with that.
        options.onEnded(spec.id, calls, options.oneTask ? usedAt - bornAt : busyMs, longestMs)
        if (options.oneTask) own.life?.retire()
      },
    })
    return own.life.over
  }

  return {
    get context() {
      return tenant?.context.spec.id
    },
    get leaving() {
      return tenant?.leaving ?? false
    },
    get usedAt() {
      return usedAt
    },
    load(context) {
      if (tenant) throw new Error(`slot ${index} is taken`)
      const stop = new AbortController()
      const own: Tenant = { context, life: undefined, leaving: false, stop, gone: Promise.resolve() }
      tenant = own
      own.gone = house(own)
    },
    feed: () => tenant?.life?.feed(),
    forget: (isGone) => tenant?.life?.forget(isGone),
    retire() {
      if (!tenant) return
      tenant.leaving = true
      tenant.stop.abort()
      tenant.life?.retire()
      bell.ring()
    },
    async stop() {
      if (!tenant) return
      tenant.leaving = true
      tenant.stop.abort()
      tenant.life?.stop()
      bell.ring()
      await tenant.gone
    },
  }
}

/** Calls that a library of a context runs together at most. */
export function batchOf({ spec }: ContextSpec): number {
  if (spec.library === 'causal-lm') return spec.setup.maxBatch
  if (spec.library === 'server') return spec.setup.concurrency
  const functions = Object.values<{ batch?: number | undefined }>(spec.functions)
  return Math.max(...functions.map(({ batch = 1 }) => batch))
}
