import { GPU_VENDORS } from '../../common/gpus/vendors.ts'

/** Memory that processes have on the node's GPUs, bytes by process id. */
export type DeviceMemory = ReadonlyMap<number, number>

/** An answer is good for this long, milliseconds: all libraries of a node ask. */
const FRESH_MS = 5_000

/**
 * Asks the driver of a vendor, never more often than it is worth. It knows nothing in containers with process ids of their own.
 *
 * @param vendor the name of one of `GPU_VENDORS`; without one, nothing is known
 */
export function watchDevices(vendor: string | undefined): () => Promise<DeviceMemory> {
  const driver = GPU_VENDORS.find(({ name }) => name === vendor)
  let last = Promise.resolve<DeviceMemory>(new Map())
  let askedAt = -Infinity
  return () => {
    const now = performance.now()
    if (!driver || now - askedAt < FRESH_MS) return last
    askedAt = now
    return (last = driver.memoryByProcess())
  }
}
