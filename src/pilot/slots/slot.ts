import path from 'node:path'
import type { Logger } from 'pino'
import type { BlobCache } from '../tasks/blob-cache.ts'
import type { PartSender } from '../uplink/part-sender.ts'
import type { DeviceMemory } from '../gpus/device-memory.ts'
import type { LibraryEvent } from '../library/library-event.ts'
import { type PrestartedProcess, prestartProcess } from '../library/prestarted-process.ts'
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
  return new Slot(options)
}

class Slot implements SlotRunner {
  readonly #options: SlotOptions
  readonly #budget: Usage
  readonly #libraries = new Map<string, LibrarySupervisor>()
  /** The most that a library of each context was seen to take. */
  readonly #seen = new Map<string, Usage>()
  /** For the first library, which may be long in coming. With one task for each, it has no more than the others. */
  #prestarted: PrestartedProcess | undefined
  #next: string | undefined
  #turn: string | undefined

  constructor(options: SlotOptions) {
    const { memoryLimit, deviceLimit, env } = options.plan
    this.#options = options
    this.#budget = { memory: memoryLimit, device: deviceLimit }
    if (!options.oneTask) this.#prestarted = prestartProcess({ env, memoryLimit, folder: this.#folder() })
  }

  get next(): string | undefined {
    return this.#next !== undefined && this.#libraries.get(this.#next)?.leaving === false
      ? this.#next
      : undefined
  }

  get turn(): string | undefined {
    return this.#turn
  }

  get contexts(): string[] {
    return [...this.#libraries.keys()]
  }

  get usedAt(): number {
    return this.#libraries.get(this.#next ?? '')?.usedAt ?? 0
  }

  get progress(): LibrarySupervisor['progress'] {
    return [...this.#libraries.values()].flatMap((library) => library.progress)
  }

  get open(): LibrarySupervisor | undefined {
    const library = this.#libraries.get(this.#turn ?? '')
    if (!library?.isOpen) return undefined
    return this.#turn === this.#next || this.#options.isOwed(this.#turn!) ? library : undefined
  }

  assign(context: LoadableContext | undefined): void {
    if (context) this.#next = context.spec.id
    if (context && !this.#libraries.has(context.spec.id)) this.#bringIn(context)
    this.#passTurn()
  }

  release(id: string): void {
    const library = this.#libraries.get(id)
    if (library && !this.#isBusy(id, library)) library.retire()
  }

  forget(...which: Parameters<LibrarySupervisor['forget']>): void {
    for (const library of this.#libraries.values()) library.forget(...which)
  }

  async stop(): Promise<void> {
    this.#prestarted?.close()
    for (const library of this.#libraries.values()) library.stop()
    await Promise.all([...this.#libraries.values()].map(({ gone }) => gone))
  }

  /** Where its libraries' temporary files lie: those of a context, or of the first one, which is not known yet. */
  #folder(context?: string): string {
    const { scratch, index } = this.#options
    return path.join(scratch, `slot-${index}${context === undefined ? '' : `-${context.slice(0, 12)}`}`)
  }

  #isBusy(id: string, { calls }: LibrarySupervisor): boolean {
    return calls > 0 || (id === this.#turn && id !== this.#next && this.#options.isOwed(id))
  }

  #slotLibraries(): SlotLibrary[] {
    return [...this.#libraries].map(([context, library]) => ({
      context,
      usage: library.usage,
      usedAt: context === this.#next ? Infinity : library.usedAt,
      busy: this.#isBusy(context, library),
      leaving: library.leaving,
    }))
  }

  #needOf({ spec, bytes }: LoadableContext): Usage {
    const { oneTask, plan } = this.#options
    if (oneTask) return EVERYTHING
    const guess = bytes + BESIDE_FILES
    const { memory = guess, device = 0 } = this.#seen.get(spec.id) ?? {}
    return { memory, device: plan.slot.device === 'cpu' ? 0 : device || guess }
  }

  #bringIn(context: LoadableContext): void {
    const need = this.#needOf(context)
    const { go, fits } = makeRoomFor(this.#slotLibraries(), need, this.#budget)
    for (const id of go) this.#libraries.get(id)!.retire()
    if (fits) this.#take(context, need)
  }

  #take(context: LoadableContext, need: Usage): void {
    const { index, plan, onEvent, ...rest } = this.#options
    const { slot, gpus, memoryLimit, env } = plan
    const { id } = context.spec
    const prestarted = this.#prestarted
    const library = superviseLibrary({
      ...rest,
      ...{ context, need, memoryLimit, env, gpus, prestarted },
      slot: index,
      folder: prestarted?.folder ?? this.#folder(id),
      threads: Math.max(1, Math.floor(slot.cpus)),
      device: slot.device,
      onEvent: (event) => {
        if (event.type === 'measured') this.#noteUsage(id, event.usage)
        onEvent(index, id, event)
      },
    })
    this.#prestarted = undefined
    this.#libraries.set(id, library)
    void library.gone.then((error) => {
      this.#libraries.delete(id)
      if (this.#turn === id) this.#turn = undefined
      onEvent(index, id, error ? { type: 'failed', error } : { type: 'unloaded' })
    })
  }

  #noteUsage(id: string, { memory, device }: Usage): void {
    const most = this.#seen.get(id)
    this.#seen.set(id, {
      memory: Math.max(memory, most?.memory ?? 0),
      device: Math.max(device, most?.device ?? 0),
    })
    const overflow = chooseOverflow(this.#slotLibraries(), this.#budget)
    for (const context of overflow) this.#libraries.get(context)!.retire()
  }

  /** A turn ends with its last task, and when another context is there to take over. */
  #passTurn(): void {
    if (this.#next === this.#turn || this.#next === undefined || !this.#libraries.has(this.#next)) return
    const current = this.#turn === undefined ? undefined : this.#libraries.get(this.#turn)
    if (!current || !this.#isBusy(this.#turn!, current)) this.#turn = this.#next
  }
}
