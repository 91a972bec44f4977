/** A command may be silent for so long, milliseconds. */
const QUIET_MS = 1_000

/** What takes a while when pilots of this version are submitted for the first time. */
export const PACKING = 'packing what pilots boot from: once for each version, up to a minute'

/** Says what is being done, if it takes a while. */
export async function announced<T>(work: Promise<T>, announce: () => void): Promise<T> {
  const timer = setTimeout(announce, QUIET_MS)
  return await work.finally(() => clearTimeout(timer))
}
