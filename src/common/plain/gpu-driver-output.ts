import { z } from 'zod'
import { parseJson } from '../../protocol/primitives.ts'

/* What drivers say of GPUs: their commands' output, and their files below /sys. What cannot be read is left out. */

/** A GPU, or a part of one, that a driver shows. */
export interface ShownGpu {
  /** What it is called where a process is shown it alone: as the vendor's own variable names it. */
  readonly id: string
  /** All names by which batch systems call it: numbers, UUIDs. */
  readonly names: readonly string[]
  /** Such as `NVIDIA A100-SXM4-40GB MIG 1g.5gb`. */
  readonly product: string
  /** Bytes; 0 if the driver does not tell. */
  readonly memory: number
}

const MIB = 2 ** 20
/** More than any GPU draws, watts: a reading beyond it is none. */
const MOST_WATTS = 5_000
/** More than a node has. */
const MOST_GPUS = 64
const NAME_LENGTH = 200

/** Arguments of `nvidia-smi` whose output `nvidiaGpus` reads. The name comes last: it may have commas in it. */
export const NVIDIA_QUERY = ['--query-gpu=index,uuid,memory.total,name', '--format=csv,noheader,nounits']

/**
 * GPUs, and the parts of those that are divided (MIG). A GPU that is divided cannot be used as a whole: by its own names, CUDA
 * finds its first part.
 *
 * @param table output of `nvidia-smi` with `NVIDIA_QUERY`
 * @param list output of `nvidia-smi -L`, which has the parts below their GPUs
 */
export function nvidiaGpus(table: string, list: string): ShownGpu[] {
  const parts = nvidiaParts(list)
  return [...table.matchAll(/^ *(\d+) *, *(GPU-[\w-]+) *, *(\d*)[^,\n]*, *(.+)$/gm)]
    .flatMap(([, index, uuid, mib, name]) => {
      const whole = { id: uuid!, names: [index!, uuid!], product: cut(name!), memory: Number(mib) * MIB }
      const own = parts.get(uuid!) ?? []
      if (own.length === 0) return [whole]
      return own.map(({ id, profile }, part) => ({
        id,
        names: part === 0 ? [id, ...whole.names] : [id],
        product: cut(`${name!.trim()} MIG ${profile}`),
        memory: profileMemory(profile),
      }))
    })
    .slice(0, MOST_GPUS)
}

function nvidiaParts(list: string): Map<string, { id: string; profile: string }[]> {
  const parts = new Map<string, { id: string; profile: string }[]>()
  let gpu = ''
  for (const line of list.split('\n')) {
    gpu = /^GPU \d+: .*\(UUID: (GPU-[\w-]+)\)/.exec(line)?.[1] ?? gpu
    const [, profile, id] = /^\s+MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-[\w/-]+)\)/.exec(line) ?? []
    if (id !== undefined) parts.set(gpu, [...(parts.get(gpu) ?? []), { id, profile: profile! }])
  }
  return parts
}

/** `3g.20gb` has 20 GB, in powers of ten: a little less than the part really has. */
const profileMemory = (profile: string): number => Number(/\.(\d{1,4})gb/.exec(profile)?.[1] ?? 0) * 1e9

/** What `nvidia-smi --query-gpu=power.draw --format=csv,noheader,nounits` prints: a line for each GPU, `[N/A]` where it is not known. */
export function nvidiaWatts(text: string): number | undefined {
  return sum(text.split('\n').flatMap((line) => (/^\d+(\.\d+)?$/.test(line.trim()) ? [Number(line)] : [])))
}

/**
 * What `nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits` prints.
 *
 * @returns bytes by process id: a process is listed once for each GPU that it uses
 */
export function nvidiaMemory(text: string): Map<number, number> {
  const sums = new Map<number, number>()
  for (const [, pid, mib] of text.matchAll(/^(\d+), (\d+)$/gm))
    sums.set(Number(pid), (sums.get(Number(pid)) ?? 0) + Number(mib) * MIB)
  return sums
}

/** A node of AMD's driver (KFD), from its folder below `/sys/class/kfd/kfd/topology/nodes`. */
export interface AmdNode {
  /** Text of `properties`: a name and a number in each line. */
  properties: string
  /** Texts of the `properties` of its memory banks. */
  memoryBanks: readonly string[]
  /** The product as `/sys/class/drm/renderD…/device/product_name` gives it; empty for many. */
  product: string
}

/** GPUs among the nodes of AMD's driver, in its order, which is that of their numbers in ROCR_VISIBLE_DEVICES. */
export function amdGpus(nodes: readonly AmdNode[]): ShownGpu[] {
  return nodes
    .map(({ properties, ...rest }) => ({ ...rest, value: figuresOf(properties) }))
    .filter(({ value }) => (value.get('simd_count') ?? 0n) > 0n)
    .slice(0, MOST_GPUS)
    .map(({ value, memoryBanks, product }, index) => {
      const unique = value.get('unique_id') ?? 0n
      const uuid = unique === 0n ? [] : [`GPU-${unique.toString(16).padStart(16, '0')}`]
      const banks = memoryBanks.map(figuresOf).filter((bank) => isOnDevice(bank.get('heap_type')))
      return {
        id: String(index),
        names: [String(index), ...uuid],
        product: cut(product.trim() || `AMD ${architecture(Number(value.get('gfx_target_version') ?? 0n))}`),
        memory: banks.reduce((total, bank) => total + Number(bank.get('size_in_bytes') ?? 0n), 0),
      }
    })
}

/** Heaps of the device's own memory, which the processor sees or does not see. */
const isOnDevice = (heap: bigint | undefined) => heap === 1n || heap === 2n

/** 90010 is gfx90a. */
function architecture(version: number): string {
  if (version === 0) return 'GPU'
  const [major, minor, step] = [Math.floor(version / 10_000), Math.floor(version / 100) % 100, version % 100]
  return `gfx${major}${minor.toString(16)}${step.toString(16)}`
}

function figuresOf(properties: string): Map<string, bigint> {
  return new Map(
    [...properties.matchAll(/^(\w+) (\d{1,20})$/gm)].map(([, name, text]) => [name!, BigInt(text!)]),
  )
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

const IntelList = z.object({
  device_list: z
    .array(z.object({ device_id: z.int().min(0), uuid: z.string().max(100).optional() }))
    .max(MOST_GPUS),
})
const IntelDevice = z.object({
  device_name: z.string(),
  memory_physical_size_byte: z.union([z.string().regex(/^\d{1,15}$/), z.number()]).optional(),
})

/** What `xpu-smi discovery --json` prints: the numbers of Intel's GPUs, as ZE_AFFINITY_MASK has them. */
export function intelNumbers(text: string): number[] {
  return IntelList.safeParse(parseJson(text)).data?.device_list.map(({ device_id }) => device_id) ?? []
}

/** What `xpu-smi discovery --device NUMBER --json` prints. */
export function intelGpu(number: number, text: string): ShownGpu | undefined {
  const { data } = IntelDevice.safeParse(parseJson(text))
  if (!data) return undefined
  const id = String(number)
  return {
    id,
    names: [id],
    product: cut(data.device_name),
    memory: Number(data.memory_physical_size_byte ?? 0),
  }
}

const cut = (product: string) => product.trim().slice(0, NAME_LENGTH)

function sum(watts: readonly number[]): number | undefined {
  const told = watts.filter((value) => value >= 0 && value <= MOST_WATTS)
  return told.length === 0 ? undefined : told.reduce((total, value) => total + value, 0)
}
