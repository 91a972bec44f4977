import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, open, rm } from 'node:fs/promises'
import path from 'node:path'
import { round } from './fan-out.ts'
import { createBundleOn, startCluster, workerName } from './start-cluster.ts'

/** How fast one worker takes in a bundle from one peer, and what each part of it does alone. MB/s, 10^6 bytes. */
export type LoopbackResult = {
  mb: number
  seconds: number
  mb_per_s: number
  /** Processor time of the worker alone. */
  cpu_s: number
  /** One processor taking SHA-256. */
  sha256_mb_per_s: number
  /** Writing to a new file in the same folder. */
  write_mb_per_s: number
}

const MIB = 1 << 20

/** One worker takes a bundle from a peer on this machine, nothing shaped; hashes taken and files written. */
export async function loopback(mb: number, folder: string, signal: AbortSignal): Promise<LoopbackResult> {
  const sha256 = hashSpeed(mb)
  const write = await writeSpeed(mb, folder)
  const here = { address: '127.0.0.1' }
  await using cluster = await startCluster([here, here], folder, () => false, signal)
  const { manager, managerUrl } = cluster
  const [worker] = cluster.workers
  const bundle = await createBundleOn(cluster, mb * 1e6)
  // The node that made the bundle serves it as a peer too: a manager holds back what it gave away lately.
  manager.send({ type: 'workers', workers: [{ name: workerName(1), url: managerUrl }] })
  const fetched = worker!.answer('fetched')
  const since = Date.now()
  worker!.send({ type: 'fetch', bundle, manager: managerUrl })
  const { at, cpuMs } = await fetched
  return {
    mb,
    seconds: round((at - since) / 1000),
    mb_per_s: Math.round((mb * 1000) / (at - since)),
    cpu_s: round(cpuMs / 1000),
    sha256_mb_per_s: Math.round(sha256),
    write_mb_per_s: Math.round(write),
  }
}

function hashSpeed(mb: number): number {
  const buffer = randomBytes(MIB)
  const since = performance.now()
  for (let done = 0; done < mb * 1e6; done += MIB) createHash('sha256').update(buffer).digest()
  return (mb * 1000) / (performance.now() - since)
}

async function writeSpeed(mb: number, parent: string): Promise<number> {
  const folder = await mkdtemp(path.join(parent, 'fanout-'))
  try {
    await using file = await open(path.join(folder, 'written'), 'w')
    const buffer = randomBytes(MIB)
    const since = performance.now()
    for (let done = 0; done < mb * 1e6; done += MIB) await file.write(buffer)
    return (mb * 1000) / (performance.now() - since)
  } finally {
    await rm(folder, { recursive: true })
  }
}
