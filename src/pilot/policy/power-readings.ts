import { z } from 'zod'
import { parseJson } from '../../protocol/primitives.ts'

/* What drivers' commands say of the power that GPUs draw, watts: the sum over those asked for; undefined if they do not tell. */

/** More than any GPU draws: a reading beyond it is none. */
const MOST_WATTS = 5_000

/** What `nvidia-smi --query-gpu=power.draw --format=csv,noheader,nounits` prints: a line for each GPU, `[N/A]` where it is not known. */
export function nvidiaWatts(text: string): number | undefined {
  return sum(text.split('\n').flatMap((line) => (/^\d+(\.\d+)?$/.test(line.trim()) ? [Number(line)] : [])))
}

const AmdGpu = z.object({
  power: z.object({ socket_power: z.union([z.object({ value: z.number() }), z.number()]) }),
})
const AmdAnswer = z.union([z.array(z.unknown()), z.object({ gpu_data: z.array(z.unknown()) })])

/** What `amd-smi metric --power --json` prints: a list of GPUs, which later versions put into `gpu_data`. */
export function amdWatts(text: string): number | undefined {
  const { data = [] } = AmdAnswer.safeParse(parseJson(text))
  const gpus = Array.isArray(data) ? data : data.gpu_data
  return sum(
    gpus.flatMap((gpu) => {
      const told = AmdGpu.safeParse(gpu).data?.power.socket_power
      return told === undefined ? [] : [typeof told === 'number' ? told : told.value]
    }),
  )
}

function sum(watts: readonly number[]): number | undefined {
  const told = watts.filter((value) => value >= 0 && value <= MOST_WATTS)
  return told.length === 0 ? undefined : told.reduce((total, value) => total + value, 0)
}
