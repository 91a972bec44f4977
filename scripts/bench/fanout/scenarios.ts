import type { FanOut } from './fan-out.ts'

/*
 * Every node of a cluster here shares the processors of one machine, which a real one would have for itself. So all but the
 * first run on links slow enough for these to be the limit.
 */

/** Sixteen cold workers on slow links, from which others differ in one thing. */
const slow: FanOut = { workers: 16, mb: 16, mbit: 10 }

const growing = (workers: number): FanOut => ({ workers, mb: 16, mbit: 4 })

/** By name; the first is the headline. */
export const scenarios = {
  'all-at-once': { workers: 16, mb: 64, mbit: 100 },
  'half-speed': { workers: 16, mb: 64, mbit: 50 },
  'slow-links': slow,
  'growth-4': growing(4),
  'growth-16': growing(16),
  'growth-64': growing(64),
  joining: { ...slow, joining: true },
  killed: { ...slow, killed: 4 },
  corrupt: { ...slow, corrupt: 1 },
  firewalled: { ...slow, firewalled: 1 },
} satisfies Record<string, FanOut>

export const LOOPBACK = 'loopback'
/** Size of the bundle over loopback, millions of bytes. */
export const LOOPBACK_MB = 1000
