import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

/** Memory that processes have on the node's GPUs, bytes by process id. */
export type DeviceMemory = ReadonlyMap<number, number>

/** An answer is good for this long, milliseconds: all libraries of a node ask. */
const FRESH_MS = 5_000
const QUERY_MS = 20_000

/** Asks the driver, never more often than it is worth. It knows nothing in containers with process ids of their own. */
export function watchDevices(): () => Promise<DeviceMemory> {
  let last = Promise.resolve<DeviceMemory>(new Map())
  let askedAt = -Infinity
  return () => {
    const now = performance.now()
    if (now - askedAt < FRESH_MS) return last
    askedAt = now
    return (last = ask())
  }
}

async function ask(): Promise<DeviceMemory> {
  const query = ['--query-compute-apps=pid,used_memory', '--format=csv,noheader,nounits']
  const sums = new Map<number, number>()
  try {
    const { stdout } = await promisify(execFile)('nvidia-smi', query, { timeout: QUERY_MS })
    // A process is listed once for each GPU that it uses.
    for (const [, pid, mib] of stdout.matchAll(/^(\d+), (\d+)$/gm))
      sums.set(Number(pid), (sums.get(Number(pid)) ?? 0) + Number(mib) * 2 ** 20)
  } catch {
    // There is no driver, or it does not tell.
  }
  return sums
}
