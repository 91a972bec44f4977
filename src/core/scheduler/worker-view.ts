import type { Worker } from './state.ts'

/** Tasks that a worker was given and has not ended. */
export function inHand({ leases }: Worker): number {
  let open = 0
  for (const lease of leases.values()) open += lease.open
  return open
}

/** The same of one context. */
export function inHandOf({ leases }: Worker, context: string): number {
  let open = 0
  for (const lease of leases.values()) if (lease.job.context === context) open += lease.open
  return open
}

/** When it was given the oldest task that it has not ended; undefined if it has none. */
export function busySince({ leases }: Worker): number | undefined {
  let oldest: number | undefined
  for (const { grantedAt } of leases.values()) oldest = Math.min(oldest ?? grantedAt, grantedAt)
  return oldest
}

/** How a worker stands, as people and the factory are told. */
export function standingOf({ draining, leaving, suspectSince }: Worker): 'active' | 'suspect' | 'draining' {
  if (draining || leaving) return 'draining'
  return suspectSince === undefined ? 'active' : 'suspect'
}

/** Why a worker is given no more work, whatever there is; undefined if it is. */
export function refusalOf(
  { draining, leaving, deadline }: Worker,
  now: number,
): 'leaving' | 'draining' | 'out-of-time' | undefined {
  if (leaving) return 'leaving'
  if (draining) return 'draining'
  return deadline !== undefined && deadline <= now ? 'out-of-time' : undefined
}

export const takesWork = (worker: Worker, now: number): boolean => refusalOf(worker, now) === undefined
