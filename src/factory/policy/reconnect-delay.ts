const FIRST_MS = 1_000
const LONGEST_MS = 60_000
/** After a refused login: servers lock out those who try too often. */
const FIRST_REFUSED_MS = 60_000
const LONGEST_REFUSED_MS = 30 * 60_000

/**
 * How long to wait before a host is tried again, milliseconds.
 * @param failures attempts in a row that failed; after none it is tried at once
 * @param refused whether the last one failed because the host did not let us in
 * @param chance from 0 to 1: a whole cluster's factories do not come back at the same moment
 */
export function reconnectDelay(failures: number, refused: boolean, chance: number): number {
  if (failures === 0) return 0
  const [first, longest] = refused ? [FIRST_REFUSED_MS, LONGEST_REFUSED_MS] : [FIRST_MS, LONGEST_MS]
  const full = Math.min(longest, first * 2 ** (failures - 1))
  return Math.round(full * (0.5 + chance / 2))
}
