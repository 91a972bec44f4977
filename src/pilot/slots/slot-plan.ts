import os from 'node:os'
import { GPU_VENDORS } from '../../common/gpus/vendors.ts'
import type { PilotEnvironment } from '../../protocol/pilot-environment.ts'
import { NO_GPUS, type SlotGpus } from '../../protocol/library.ts'
import type { Slot } from '../../protocol/worker.ts'
import { PilotError } from '../exit-codes.ts'
import type { PilotGpu, PilotGpus } from '../policy/allocated-gpus.ts'

/** What a slot is made of. */
export interface SlotPlan {
  slot: Slot
  gpus: SlotGpus
  /** Variables that show a library only this slot's devices. */
  env: Readonly<Record<string, string>>
  /** Memory of the node that libraries here may take together, bytes. */
  memoryLimit: number
  /** The same of the slot's accelerators: 0 if it is unknown how much they have, so that libraries are held there one at a time. */
  deviceLimit: number
}

/** Part of the pilot's memory, and of an accelerator's, that libraries may have; the rest is for the worker, and for growth. */
const FOR_LIBRARIES = 0.9

const MIB = 2 ** 20

/**
 * The slots of a pilot: one for each GPU, or as its site divides them; or one with all CPUs if there is none.
 *
 * @throws PilotError if it has fewer GPUs than a slot needs
 */
export function planSlots(
  env: PilotEnvironment,
  { gpus, shown }: PilotGpus,
  node: { memory: number; cpus: number } = { memory: os.totalmem(), cpus: os.availableParallelism() },
): SlotPlan[] {
  const portion = Math.min(1, env.GLEANER_CPUS / node.cpus)
  const memory = env.GLEANER_MEMORY_MB === undefined ? node.memory * portion : env.GLEANER_MEMORY_MB * MIB
  const groups = groupGpus(gpus, env)
  const slots = Math.max(1, groups.length)
  const cpus = env.GLEANER_CPUS / slots
  const memoryLimit = Math.floor((memory * FOR_LIBRARIES) / slots)
  if (groups.length === 0) {
    const slot = { device: 'cpu', cpus, memory: memoryLimit }
    return [{ slot, gpus: NO_GPUS, env: threads(cpus), memoryLimit, deviceLimit: Infinity }]
  }
  const sharers = env.GLEANER_SLOTS_PER_GPU
  return groups.map((group) => {
    const sum = group.reduce((bytes, gpu) => bytes + gpu.memory, 0)
    const slot = { device: deviceOf(group, sharers), cpus, memory: Math.floor(sum / sharers) }
    const deviceLimit = Math.floor(slot.memory * FOR_LIBRARIES)
    return {
      slot,
      gpus: { count: group.length, memory: deviceLimit, hasOthers: shown > group.length },
      env: { ...threads(cpus), ...visible(group) },
      memoryLimit,
      deviceLimit,
    }
  })
}

/** The GPUs of each slot. */
function groupGpus(gpus: readonly PilotGpu[], env: PilotEnvironment): PilotGpu[][] {
  const { GLEANER_GPUS_PER_SLOT: perSlot, GLEANER_SLOTS_PER_GPU: sharers } = env
  const groups = Math.floor(gpus.length / perSlot)
  if (groups === 0 && gpus.length > 0)
    throw new PilotError(
      'GLEANER_PILOT_SETTINGS',
      `a slot takes ${perSlot} GPUs (gpusPerSlot), and this pilot has ${gpus.length}: ` +
        'set gpus of the site to a multiple of gpusPerSlot, and see what its batch system gives',
    )
  return Array.from({ length: groups }, (_, i) => gpus.slice(i * perSlot, (i + 1) * perSlot)).flatMap(
    (group) => Array.from({ length: sharers }, () => group),
  )
}

/** `2 x NVIDIA A100`, or `1/4 NVIDIA A100`. GPUs of one node are alike; where they are not, all are named. */
function deviceOf(group: readonly PilotGpu[], sharers: number): string {
  const products = [...new Set(group.map(({ product }) => product))].join(' and ')
  const part = group.length > 1 ? `${group.length} x ` : sharers > 1 ? `1/${sharers} ` : ''
  return `${part}${products}`.slice(0, 200)
}

function visible(group: readonly PilotGpu[]): Record<string, string> {
  const vendor = GPU_VENDORS.find(({ name }) => name === group[0]!.vendor)
  return vendor?.visible(group.map(({ id }) => id)) ?? {}
}

function threads(cpus: number): Record<string, string> {
  const count = String(Math.max(1, Math.floor(cpus)))
  return { OMP_NUM_THREADS: count, OPENBLAS_NUM_THREADS: count, MKL_NUM_THREADS: count }
}
