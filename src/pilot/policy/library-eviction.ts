/*
 * Which libraries stay in a slot. They stay after their context's turn for as long as they fit the slot's memory, so that a
 * turn back costs nothing; for others they make way, those first that were used least recently, but none that has calls.
 */

/** Memory, bytes: the node's own, and the slot's accelerator's. */
export interface Usage {
  readonly memory: number
  readonly device: number
}

/** A library in a slot. */
export interface SlotLibrary {
  readonly context: string
  readonly usage: Usage
  /** When it last had a call, or more if it is to stay before all others. */
  readonly usedAt: number
  /** It runs calls, or will before any other does. */
  readonly busy: boolean
  /** It has been told to go, and has its memory still. */
  readonly leaving: boolean
}

/**
 * How one more library gets into a slot: those that `go` are told to, and once everything `fits` it may be started. If what is
 * busy leaves too little, nothing goes: it has to wait anyhow. One that needs more than there is may start alone.
 */
export function makeRoomFor(
  slotLibraries: readonly SlotLibrary[],
  need: Usage,
  budget: Usage,
): { go: string[]; fits: boolean } {
  if (slotLibraries.length === 0 || fits([...usages(slotLibraries), need], budget))
    return { go: [], fits: true }
  const staying = slotLibraries.filter(({ leaving }) => !leaving)
  const busy = staying.filter((resident) => resident.busy)
  if (busy.length > 0 && !fits([...usages(busy), need], budget)) return { go: [], fits: false }
  return { go: leastUsed(staying, (left) => fits([...usages(left), need], budget)), fits: false }
}

/** Those that have to go because libraries have grown: never the last one, which has its own limit. */
export function chooseOverflow(slotLibraries: readonly SlotLibrary[], budget: Usage): string[] {
  const staying = slotLibraries.filter(({ leaving }) => !leaving)
  return leastUsed(staying, (left) => left.length === 1 || fits(usages(left), budget))
}

/** Takes out one after the other, least recently used first, until enough have gone or all that are left are busy. */
function leastUsed(slotLibraries: SlotLibrary[], isEnough: (left: SlotLibrary[]) => boolean): string[] {
  const gone: string[] = []
  let left = slotLibraries
  for (const { context } of slotLibraries.filter(({ busy }) => !busy).sort((a, b) => a.usedAt - b.usedAt)) {
    if (isEnough(left)) break
    left = left.filter((resident) => resident.context !== context)
    gone.push(context)
  }
  return gone
}

function fits(usages: readonly Usage[], budget: Usage): boolean {
  const sum = (of: keyof Usage) => usages.reduce((total, usage) => total + usage[of], 0)
  return sum('memory') <= budget.memory && sum('device') <= budget.device
}

function usages(slotLibraries: readonly SlotLibrary[]): Usage[] {
  return slotLibraries.map(({ usage }) => usage)
}
