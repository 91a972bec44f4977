import { execFile } from 'node:child_process'
import os from 'node:os'
import { promisify } from 'node:util'
import type { PilotEnvironment } from '../../protocol/pilot-environment.ts'
import type { Slot } from '../../protocol/worker.ts'

/** What the pilot's environment says of one slot. */
export interface SlotPlan {
  slot: Slot
  /** Variables that show a library only this slot's devices. */
  env: Readonly<Record<string, string>>
  /** Memory of the node that libraries here may take together, bytes. */
  memoryLimit: number
  /** The same of the slot's accelerator: 0 if it is unknown how much it has, so that libraries are held there one at a time. */
  deviceLimit: number
}

/** A GPU as its driver describes it. */
export interface Gpu {
  name: string
  /** Bytes. */
  memory: number
}

/** Part of the pilot's memory, and of an accelerator's, that libraries may have; the rest is for the worker, and for growth. */
const FOR_LIBRARIES = 0.9

const MIB = 2 ** 20

/** One slot for each GPU, or one with all CPUs if there is none. */
export function planSlots(
  env: PilotEnvironment,
  gpus: ReadonlyMap<string, Gpu>,
  node: { memory: number; cpus: number } = { memory: os.totalmem(), cpus: os.availableParallelism() },
): SlotPlan[] {
  const ids = gpuIds(env)
  const share = Math.min(1, env.GLEANER_CPUS / node.cpus)
  const memory = env.GLEANER_MEMORY_MB === undefined ? node.memory * share : env.GLEANER_MEMORY_MB * MIB
  const slots = Math.max(1, ids.length)
  const cpus = env.GLEANER_CPUS / slots
  const memoryLimit = Math.floor((memory * FOR_LIBRARIES) / slots)
  if (ids.length === 0) {
    const slot = { device: 'cpu', cpus, memory: memoryLimit }
    return [{ slot, env: threads(cpus), memoryLimit, deviceLimit: Infinity }]
  }
  return ids.map((id) => {
    const gpu = gpus.get(id)
    const slot = { device: gpu?.name ?? 'gpu', cpus, memory: gpu?.memory ?? 0 }
    const deviceLimit = Math.floor(slot.memory * FOR_LIBRARIES)
    return { slot, env: { ...threads(cpus), CUDA_VISIBLE_DEVICES: id }, memoryLimit, deviceLimit }
  })
}

export function gpuIds({ GLEANER_GPUS = '' }: PilotEnvironment): string[] {
  return GLEANER_GPUS.split(',')
    .map((id) => id.trim())
    .filter((id) => id !== '')
}

function threads(cpus: number): Record<string, string> {
  const count = String(Math.max(1, Math.floor(cpus)))
  return { OMP_NUM_THREADS: count, OPENBLAS_NUM_THREADS: count, MKL_NUM_THREADS: count }
}

const QUERY_MS = 20_000

/** Asks the driver for the names and memory of GPUs. One that it does not know is missing from the answer. */
export async function describeGpus(ids: readonly string[]): Promise<Map<string, Gpu>> {
  const found = await Promise.all(ids.map(describeGpu))
  return new Map(ids.flatMap((id, i) => (found[i] ? [[id, found[i]]] : [])))
}

async function describeGpu(id: string): Promise<Gpu | undefined> {
  const query = ['--query-gpu=name,memory.total', '--format=csv,noheader,nounits', `--id=${id}`]
  try {
    const { stdout } = await promisify(execFile)('nvidia-smi', query, { timeout: QUERY_MS })
    const [, name, mib] = /^(.+), (\d+)$/.exec(stdout.trim()) ?? []
    return name === undefined ? undefined : { name: name.slice(0, 200), memory: Number(mib) * MIB }
  } catch {
    return undefined
  }
}
