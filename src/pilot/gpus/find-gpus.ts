import type { Logger } from 'pino'
import { GPU_VENDORS } from '../../common/gpus/vendors.ts'
import type { PilotEnvironment } from '../../protocol/pilot-environment.ts'
import { allocatedGpus, namedGpus, type PilotGpus } from '../policy/allocated-gpus.ts'

/** Finds out which GPUs are this pilot's: by its job's variables, and by asking the drivers. */
export async function findGpus(env: PilotEnvironment, log: Logger): Promise<PilotGpus> {
  const { GLEANER_GPUS: named = '', GLEANER_GPUS_BY: variable = '', GLEANER_ASKED_GPUS: asked } = env
  const saysNone = named === 'none'
  const ids = saysNone ? [] : namedGpus(named)
  // Drivers are asked on nodes of GPUs only: it takes up to a second.
  if (saysNone || asked === 0 || (ids.length === 0 && asked === undefined)) return { gpus: [], shown: 0 }
  const shown = await Promise.all(
    GPU_VENDORS.map(async ({ name, shown }) => ({ vendor: name, gpus: await shown() })),
  )
  const vendor = GPU_VENDORS.find(({ variables }) => variables.includes(variable))?.name
  const { doubts, ...found } = allocatedGpus({ ids, vendor, saysNone, asked }, shown)
  for (const doubt of doubts) log.warn({ gpus: named, shown }, doubt)
  return found
}
