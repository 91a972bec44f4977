import path from 'node:path'
import type { Logger } from 'pino'
import type { BlobCache } from '../tasks/blob-cache.ts'
import type { PartSender } from '../uplink/part-sender.ts'
import type { DeviceMemory } from '../gpus/device-memory.ts'
import type { LibraryEvent } from '../library/library-event.ts'
import { prestartProcess } from '../library/prestarted-process.ts'
import { chooseOverflow, type SlotLibrary, makeRoomFor, type Usage } from '../policy/library-eviction.ts'
import type { SlotPlan } from './slot-plan.ts'
import {
  superviseLibrary,
  type LoadableContext,
  type LibrarySupervisor,
} from '../library/library-supervisor.ts'

/** One slot and the libraries it holds. One context at a time has its turn; those of the others wait, and keep their memory. */
export interface SlotRunner {
  /** The context whose turn it is, or will be once another has ended its tasks; absent if it is not here yet. */
  readonly next: string | undefined
  /** The context whose library is given calls. */
  readonly turn: string | undefined
  /** Contexts whose libraries are here or on their way. */
  readonly contexts: readonly string[]
  /** When the next one last had a call, on the process's monotonic clock. */
  readonly usedAt: number
  /** How far those of its tasks are that say so. */
  readonly progress: LibrarySupervisor['progress']
  /** Makes a context the next one, and brings its library in as soon as there is room; absent: nothing is to change. */
  assign(context: LoadableContext | undefined): void
  /** Lets the library of a context go once it has no calls; when it has, ask again. */
  release(context: string): void
  /** The library that may be given calls now, if there is one. */
  readonly open: LibrarySupervisor | undefined
  forget: LibrarySupervisor['forget']
  /** Ends its libraries at once and hands back what they had. Resolves when the slot is empty. */
  stop(): Promise<void>
}

export interface SlotOptions {
  index: number
  plan: SlotPlan
  blobs: BlobCache
  partSender: PartSender
  /** Folder for its libraries' temporary files. */
  scratch: string
  setupLimitMs: number
  evicted: AbortSignal
  /** As in a job of a batch system: a library ends after its first task, and the next one has the slot for itself. */
  oneTask: boolean
  /** What the node's GPUs are used for. */
  devices: () => Promise<DeviceMemory>
  log: Logger
  /** Whether this slot still has to run tasks of a context that is not to stay: no other will. */
  isOwed: (context: string) => boolean
  /** Something happened to the library of a context. When it has gone for good, it has left the slot already. */
  onEvent: (slot: number, context: string, event: LibraryEvent) => void
}

/** What the process of a library takes beside the files that it loads, bytes. */
const BESIDE_FILES = 64 << 20
const EVERYTHING: Usage = { memory: Infinity, device: 0 }

export function createSlot(options: SlotOptions): SlotRunner {
  const { index, plan, oneTask, isOwed, onEvent, ...rest } = options
  const { slot, gpus, memoryLimit, deviceLimit, env } = plan
  const budget: Usage = { memory: memoryLimit, device: deviceLimit }
  /** For the first library, which may be long in coming. With one task for each, it has no more than the others. */
  let prestarted = oneTask
    ? undefined
    : prestartProcess({ env, memoryLimit, folder: path.join(options.scratch, `slot-${index}`) })
  const libraries = new Map<string, LibrarySupervisor>()
  /** The most that a library of each context was seen to take. */
  const seen = new Map<string, Usage>()
  let next: string | undefined
  let turn: string | undefined

  const isBusy = (id: string, { calls }: LibrarySupervisor) =>
    calls > 0 || (id === turn && id !== next && isOwed(id))

  const slotLibraries = (): SlotLibrary[] =>
    [...libraries].map(([context, library]) => ({
      context,
      usage: library.usage,
      usedAt: context === next ? Infinity : library.usedAt,
      busy: isBusy(context, library),
      leaving: library.leaving,
    }))

  function needOf({ spec, bytes }: LoadableContext): Usage {
    if (oneTask) return EVERYTHING
    const guess = bytes + BESIDE_FILES
    const { memory = guess, device = 0 } = seen.get(spec.id) ?? {}
    return { memory, device: slot.device === 'cpu' ? 0 : device || guess }
  }

  function bringIn(context: LoadableContext) {
    const need = needOf(context)
    const { go, fits } = makeRoomFor(slotLibraries(), need, budget)
    for (const id of go) libraries.get(id)!.retire()
    if (fits) take(context, need)
  }

  function take(context: LoadableContext, need: Usage) {
    const { id } = context.spec
    const library = superviseLibrary({
      ...rest,
      context,
      need,
      oneTask,
      memoryLimit,
      env,
      slot: index,
      prestarted,
      folder: prestarted?.folder ?? path.join(options.scratch, `slot-${index}-${id.slice(0, 12)}`),
      threads: Math.max(1, Math.floor(slot.cpus)),
      gpus,
      device: slot.device,
      onEvent(event) {
        if (event.type === 'measured') noteUsage(id, event.usage)
        onEvent(index, id, event)
      },
    })
    prestarted = undefined
    libraries.set(id, library)
    void library.gone.then((error) => {
      libraries.delete(id)
      if (turn === id) turn = undefined
      onEvent(index, id, error ? { type: 'failed', error } : { type: 'unloaded' })
    })
  }

  function noteUsage(id: string, { memory, device }: Usage) {
    const most = seen.get(id)
    seen.set(id, { memory: Math.max(memory, most?.memory ?? 0), device: Math.max(device, most?.device ?? 0) })
    for (const context of chooseOverflow(slotLibraries(), budget)) libraries.get(context)!.retire()
  }

  /** A turn ends with its last task, and when another context is there to take over. */
  function passTurn() {
    if (next === turn || next === undefined || !libraries.has(next)) return
    const current = turn === undefined ? undefined : libraries.get(turn)
    if (!current || !isBusy(turn!, current)) turn = next
  }

  return {
    get next() {
      return next !== undefined && libraries.get(next)?.leaving === false ? next : undefined
    },
    get turn() {
      return turn
    },
    get contexts() {
      return [...libraries.keys()]
    },
    get usedAt() {
      return libraries.get(next ?? '')?.usedAt ?? 0
    },
    get progress() {
      return [...libraries.values()].flatMap((library) => library.progress)
    },
    assign(context) {
      if (context) next = context.spec.id
      if (context && !libraries.has(context.spec.id)) bringIn(context)
      passTurn()
    },
    release(id) {
      const library = libraries.get(id)
      if (library && !isBusy(id, library)) library.retire()
    },
    get open() {
      const library = libraries.get(turn ?? '')
      return library?.isOpen && (turn === next || isOwed(turn!)) ? library : undefined
    },
    forget(isGone, isCancelled) {
      for (const library of libraries.values()) library.forget(isGone, isCancelled)
    },
    async stop() {
      prestarted?.close()
      for (const library of libraries.values()) library.stop()
      await Promise.all([...libraries.values()].map(({ gone }) => gone))
    },
  }
}
