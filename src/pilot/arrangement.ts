/*
 * Which context each slot should hold. The manager says which contexts it wants here, most wanted first; the slots are dealt
 * out among them, and what is loaded stays where it is as far as that allows: loading is what costs.
 */

export interface SlotView {
  /** The context it holds or is loading. */
  context?: string | undefined
  /** When it last had a call to run. */
  usedAt: number
}

/**
 * @param wanted contexts the manager wants here, most wanted first
 * @param canLoad whether a context's files are here, and its setup may be tried
 * @param isHeld whether tasks of a context are in hand
 * @returns for each slot the context it should hold; the one it has, if nothing better is to be done with it
 */
export function arrange(
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
  // What nobody wants any more still ends the tasks it was given, if no other slot can.
  const kept = new Set([...slots.keys()].filter((slot) => !spare.has(slot)).map((slot) => target[slot]))
  const free = [...spare]
    .filter((slot) => {
      const context = target[slot]
      return context === undefined || kept.has(context) || !isHeld(context)
    })
    .sort(
      (a, b) =>
        Number(target[a] !== undefined) - Number(target[b] !== undefined) ||
        slots[a]!.usedAt - slots[b]!.usedAt,
    )
  for (const context of wanted) {
    if (!canLoad(context)) continue
    for (let share = shares.get(context) ?? 0; share > 0 && free.length > 0; share--)
      target[free.shift()!] = context
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
