import type { SpentView } from '../view.ts'

/** What slot time can go into, what is of use first. */
export const KINDS = ['inference', 'idle', 'load', 'fetch', 'boot', 'lost'] as const

/** Slot time, and how much of it was of use, seconds. */
export interface Use {
  used: number
  wasted: number
}

export function useOf(spent: SpentView): Use {
  const all = KINDS.reduce((sum, kind) => sum + spent[kind], 0)
  return { used: spent.inference, wasted: all - spent.inference }
}

/** The same over all accelerators; over processors where there are none. */
export function totalUse(spent: Record<string, SpentView>): Use & { of: 'GPU' | 'slot' } {
  const gpus = Object.entries(spent).filter(([device]) => device !== 'cpu')
  const uses = (gpus.length > 0 ? gpus.map(([, each]) => each) : Object.values(spent)).map(useOf)
  const sum = (kind: keyof Use) => uses.reduce((all, use) => all + use[kind], 0)
  return { used: sum('used'), wasted: sum('wasted'), of: gpus.length > 0 ? 'GPU' : 'slot' }
}
