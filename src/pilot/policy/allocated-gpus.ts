import type { ShownGpu } from '../../common/plain/gpu-driver-output.ts'

/*
 * Which GPUs are a pilot's. The batch system names them by a variable, in one of several ways; drivers show what there is. The
 * drivers' word counts where they say something: some batch systems set the variables of all vendors, or none.
 */

/** What the pilot's job says of its GPUs. */
export interface GpusGiven {
  /** Those that a variable names. Empty if none does, or if it says that there are none. */
  readonly ids: readonly string[]
  /** The vendor whose variable it was, if it is known. */
  readonly vendor?: string | undefined
  /** The batch system says that the job has none. */
  readonly saysNone: boolean
  /** GPUs that the site asked for; absent if it is not known. */
  readonly asked?: number | undefined
}

export interface PilotGpu extends Pick<ShownGpu, 'id' | 'product' | 'memory'> {
  readonly vendor: string
}

/** What is known of a pilot's GPUs. */
export interface PilotGpus {
  readonly gpus: readonly PilotGpu[]
  /** How many the driver shows here, others' included. */
  readonly shown: number
}

/** What a GPU is called that no driver shows. */
export const UNKNOWN_GPU = 'gpu'

const NONE = { gpus: [], shown: 0, doubts: [] }

/**
 * @param shown GPUs that the driver of each vendor shows; the most common vendor comes first
 * @returns also what is odd about it, in sentences for the pilot's log
 */
export function allocatedGpus(
  { ids, vendor: named, saysNone, asked }: GpusGiven,
  shown: readonly { readonly vendor: string; readonly gpus: readonly ShownGpu[] }[],
): PilotGpus & { doubts: string[] } {
  if (saysNone || asked === 0) return NONE
  const seen = shown.filter(({ gpus }) => gpus.length > 0)
  const knows = (gpus: readonly ShownGpu[]) => ids.every((id) => find(gpus, id))
  const driver =
    seen.find(({ vendor, gpus }) => vendor === named && knows(gpus)) ??
    seen.find(({ gpus }) => knows(gpus)) ??
    seen[0]
  if (ids.length === 0) return asked === undefined ? NONE : unnamed(asked, driver)
  const vendor = driver?.vendor ?? named ?? shown[0]!.vendor
  const gpus = driver?.gpus ?? []
  // Where nodes show a job its own GPUs only, they may be counted anew, while the variable has the node's numbers.
  const isRenumbered = gpus.length === ids.length && !knows(gpus)
  const chosen = ids.map((id, index): PilotGpu => {
    const found = find(gpus, id)
    if (found) return { vendor, id, product: found.product, memory: found.memory }
    if (isRenumbered) return { vendor, ...pick(gpus[index]!) }
    return { vendor, id, product: UNKNOWN_GPU, memory: 0 }
  })
  const unknown = chosen.filter(({ product }) => product === UNKNOWN_GPU).map(({ id }) => id)
  const doubts = [
    ...(isRenumbered
      ? [`the driver calls GPUs ${ids.join(', ')} ${chosen.map(({ id }) => id).join(', ')}`]
      : []),
    ...(unknown.length > 0
      ? [`no driver shows GPU ${unknown.join(', ')}: its kind and memory are not known`]
      : []),
  ]
  return { gpus: chosen, shown: gpus.length, doubts }
}

/** No variable names them: all that the driver shows are the pilot's, unless it shows more than the site asked for. */
function unnamed(
  asked: number,
  driver: { vendor: string; gpus: readonly ShownGpu[] } | undefined,
): ReturnType<typeof allocatedGpus> {
  if (!driver) return { ...NONE, doubts: [`the site asks for ${asked} GPUs, and no driver shows one`] }
  const { vendor, gpus } = driver
  if (gpus.length > asked)
    return {
      ...NONE,
      doubts: [
        `the site asks for ${asked} GPUs, the driver shows ${gpus.length}, and no variable says which are this pilot's: ` +
          'set CUDA_VISIBLE_DEVICES, ROCR_VISIBLE_DEVICES or ZE_AFFINITY_MASK in the setup of the site',
      ],
    }
  return { gpus: gpus.map((gpu) => ({ vendor, ...pick(gpu) })), shown: gpus.length, doubts: [] }
}

const pick = ({ id, product, memory }: ShownGpu) => ({ id, product, memory })

/** HTCondor calls GPUs by the first digits of their UUIDs, or by `CUDA` and their number. */
function find(gpus: readonly ShownGpu[], id: string): ShownGpu | undefined {
  const isShort = /^(GPU|MIG)-[\da-f]{8}/i.test(id)
  return gpus.find(({ names }) => names.some((name) => name === id || (isShort && name.startsWith(id))))
}

/** The GPUs that a variable names. Its several forms are one here: `CUDA0` is `0`. */
export function namedGpus(text: string): string[] {
  return text
    .split(',')
    .map((id) => id.trim().replace(/^CUDA(?=\d)/, ''))
    .filter((id) => id !== '')
}
