/*
 * Which context each slot should turn to. The manager says which contexts it wants here, most wanted first; the slots are
 * dealt out among them, and each stays with what it has as far as that allows. A slot ends the tasks of one context before it
 * turns to the next: that is for the slot to see to.
 */

export interface SlotView {
  /** The context it has turned to. */
  context?: string | undefined
  /** Contexts whose libraries it holds, that one included. */
  holds: readonly string[]
  /** When it last had a call to run. */
  usedAt: number
}

/**
 * @param wanted contexts the manager wants here, most wanted first
 * @param canLoad whether a context's files are here, and its setup may be tried
 * @param isHeld whether tasks of a context are in hand
 * @returns for each slot the context it should turn to; the one it has, if nothing better is to be done with it
 */
export function assignSlots(
  slots: readonly SlotView[],
  wanted: readonly string[],
  canLoad: (context: string) => boolean,
  isHeld: (context: string) => boolean,
): (string | undefined)[] {
  const shares = deal(slots.length, wanted)
  const target = slots.map(({ context }) => context)
  const spare = new Set(slots.keys())
  for (const slot of [...slots.keys()].sort((a, b) => slots[b]!.usedAt - slots[a]!.usedAt)) {
    const { context } = slots[slot]!
    const share = context === undefined ? 0 : (shares.get(context) ?? 0)
    if (context === undefined || share === 0) continue
    shares.set(context, share - 1)
    spare.delete(slot)
  }
  // A context that is not wanted any more still ends the tasks it was given: those slots turn last, if no other can end them.
  const kept = new Set([...slots.keys()].filter((slot) => !spare.has(slot)).map((slot) => target[slot]))
  const reluctance = (slot: number) => {
    const context = target[slot]
    if (context === undefined) return 0
    return isHeld(context) && !kept.has(context) ? 2 : 1
  }
  const free = [...spare].sort((a, b) => reluctance(a) - reluctance(b) || slots[a]!.usedAt - slots[b]!.usedAt)
  for (const context of wanted) {
    const isHere = (slot: number) => slots[slot]!.holds.includes(context)
    for (let share = shares.get(context) ?? 0; share > 0 && free.length > 0; share--) {
      const here = free.findIndex(isHere)
      if (here < 0 && !canLoad(context)) break
      target[free.splice(Math.max(0, here), 1)[0]!] = context
    }
  }
  return target
}

/** Slots for each context: one at a time, in order, until all are given out. */
function deal(slots: number, wanted: readonly string[]): Map<string, number> {
  const shares = new Map<string, number>()
  for (let i = 0; i < slots && wanted.length > 0; i++) {
    const context = wanted[i % wanted.length]!
    shares.set(context, (shares.get(context) ?? 0) + 1)
  }
  return shares
}
