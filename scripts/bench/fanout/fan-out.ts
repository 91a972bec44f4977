import { cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { buildNetwork } from './network.ts'
import { createBundleOn, startCluster, workerName } from './start-cluster.ts'
import type { Cluster } from './start-cluster.ts'

/** One way of giving a bundle to cold workers. */
export type FanOut = {
  workers: number
  /** Size of the bundle, millions of bytes. */
  mb: number
  /** What each link carries each way, Mbit/s. */
  mbit: number
  /** Workers begin one by one, over twice the bound; else all at once. */
  joining?: boolean
  /** So many are killed when half of the bundle is there. */
  killed?: number
  /** So many spoil every piece that they give away. */
  corrupt?: number
  /** So many can dial out but not be reached. */
  firewalled?: number
}

/** How it went. The names are those of the printed JSON; times in seconds. */
export type FanOutResult = {
  n: number
  mb: number
  mbit: number
  /** The time one link takes for the bundle: no worker can have it sooner. */
  bound_s: number
  /** Until the last surviving worker had it; of workers that join one by one, the longest that one took. */
  all_warm_s: number
  ratio: number
  manager_bytes: number
  peer_bytes: number
  /** Sources that workers left out. */
  faults: number
  /** Share of this machine's processors that was in use by any process: close to 1, they were the limit and not the links. */
  busy: number
}

/** Share of a full-sized Ethernet frame that is payload of TCP with time stamps. */
const PAYLOAD = 1448 / 1514
/** An address on the workers' network that no node has: where the others look for a firewalled worker. */
const NOWHERE = 'http://10.213.250.250:9'

/**
 * What every worker fetches before the clock starts, millions of bytes: a pilot that gets a context has run for a while, and
 * its code is compiled. A cluster compiles on each node at once; here, all nodes would do so on the same few processors.
 */
const WARM_UP_MB = 8

/**
 * Needs root.
 *
 * @param folder where the nodes' files go.
 * @param signal takes all down again.
 */
export async function fanOut(scenario: FanOut, folder: string, signal: AbortSignal): Promise<FanOutResult> {
  const { workers: count, mb, mbit, joining = false, killed = 0, corrupt = 0, firewalled = 0 } = scenario
  using network = buildNetwork(count + 1, `${mbit}mbit`)
  await using cluster = await startCluster(network.nodes, folder, (worker) => worker < corrupt, signal)
  const { manager, workers, managerUrl, urls } = cluster
  await warmUp(cluster)
  const bundle = await createBundleOn(cluster, mb * 1e6)
  const boundMs = (mb * 1e6) / (mbit * 125 * PAYLOAD)
  const named = urls.map((url, worker) => ({
    name: workerName(worker),
    url: worker < firewalled ? NOWHERE : url,
  }))

  const victims = workers.slice(0, killed)
  const shares = workers.map(() => 0)
  for (const [index, worker] of workers.entries()) {
    worker.onProgress((share) => {
      shares[index] = share
      if (mean(shares) >= 0.5) for (const victim of victims.splice(0)) void victim.kill()
    })
  }

  const outcomes = workers.slice(killed).map((worker) => worker.answer('fetched'))
  if (!joining) manager.send({ type: 'workers', workers: named })
  const busySince = processorTimes()
  const starts: number[] = []
  for (const [index, worker] of workers.entries()) {
    if (joining) {
      if (index > 0) await sleep((2 * boundMs) / count, undefined, { signal })
      manager.send({ type: 'workers', workers: named.slice(0, index + 1) })
    }
    starts.push(Date.now())
    worker.send({ type: 'fetch', bundle, manager: managerUrl })
  }
  const fetched = await Promise.all(outcomes)
  const busy = busyShare(busySince, processorTimes())

  const allMs = Math.max(
    ...fetched.map(({ at }, index) => at - (joining ? starts[killed + index]! : starts[0]!)),
  )
  const from = fetched.flatMap(({ report }) => report.from)
  return {
    n: count,
    mb,
    mbit,
    bound_s: round(boundMs / 1000),
    all_warm_s: round(allMs / 1000),
    ratio: round(allMs / boundMs),
    manager_bytes: bytesOf(from.filter(({ source }) => source === 'manager')),
    peer_bytes: bytesOf(from.filter(({ source }) => source !== 'manager')),
    faults: fetched.reduce((sum, { report }) => sum + report.faults.length, 0),
    busy: round(busy),
  }
}

async function warmUp(cluster: Cluster): Promise<void> {
  const { manager, workers, managerUrl, urls } = cluster
  const bundle = await createBundleOn(cluster, WARM_UP_MB * 1e6)
  manager.send({ type: 'workers', workers: urls.map((url, worker) => ({ name: workerName(worker), url })) })
  const fetched = workers.map((worker) => worker.answer('fetched'))
  for (const worker of workers) worker.send({ type: 'fetch', bundle, manager: managerUrl })
  await Promise.all(fetched)
}

const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

const bytesOf = (from: { bytes: number }[]) => from.reduce((sum, { bytes }) => sum + bytes, 0)

/** To thousandths. */
export const round = (value: number) => Math.round(value * 1000) / 1000

type ProcessorTimes = { idle: number; all: number }

function processorTimes(): ProcessorTimes {
  const times = cpus().map(({ times }) => times)
  const idle = times.reduce((sum, time) => sum + time.idle, 0)
  const all = times.reduce((sum, { user, nice, sys, idle, irq }) => sum + user + nice + sys + idle + irq, 0)
  return { idle, all }
}

function busyShare(before: ProcessorTimes, after: ProcessorTimes): number {
  return 1 - (after.idle - before.idle) / Math.max(1, after.all - before.all)
}
