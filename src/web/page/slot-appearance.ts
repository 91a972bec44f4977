import type { WorkerView } from '../view.ts'

/** Where a worker can hold a context, the coldest first. */
export const LEVELS = ['absent', 'disk', 'memory', 'device'] as const

/** How a slot is drawn: by the warmest context it holds, or by what is wrong with it. */
export type SlotLook = (typeof LEVELS)[number] | 'warming' | 'failed' | 'silent'

/** How the slots of a worker look. */
export function slotLooks({ contexts, slots, state }: WorkerView): SlotLook[] {
  if (state === 'suspect') return Array.from({ length: slots }, () => 'silent')
  return Array.from({ length: slots }, (_, slot) => {
    const loaded = contexts.find(
      ({ level, loadedIn }) => isLoaded(level) && loadedIn?.includes(slot) === true,
    )
    if (loaded) return loaded.level
    if (contexts.some(({ doing }) => doing !== undefined)) return 'warming'
    if (contexts.some(({ error }) => error !== undefined)) return 'failed'
    // Workers of earlier versions do not say which of their slots it is.
    const somewhere = contexts.find(({ level, loadedIn }) => isLoaded(level) && loadedIn === undefined)
    if (somewhere) return somewhere.level
    return contexts.some(({ level }) => level !== 'absent') ? 'disk' : 'absent'
  })
}

const isLoaded = (level: string) => level === 'memory' || level === 'device'
