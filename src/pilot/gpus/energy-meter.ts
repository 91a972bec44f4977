import type { GpuVendor } from '../../common/gpus/gpu-vendor.ts'
import { GPU_VENDORS } from '../../common/gpus/vendors.ts'
import type { PilotGpu } from '../policy/allocated-gpus.ts'

/** Sums up what the GPUs of a pilot draw, for as long as it is there. */
export interface EnergyMeter extends Disposable {
  /** Joules since it began; undefined if the driver does not tell. */
  readonly joules: number | undefined
}

/** Time from one reading to the next, milliseconds: each takes a process. */
const READ_MS = 5_000

/**
 * Reads the power of a pilot's GPUs, which are of one vendor, now and then. Between two readings it counts with their mean. It
 * asks no more if the driver tells nothing at first.
 */
export function meterEnergy(gpus: readonly PilotGpu[], readMs = READ_MS): EnergyMeter {
  const vendor = GPU_VENDORS.find(({ name }) => name === gpus[0]?.vendor)
  const ids = gpus.map(({ id }) => id)
  let joules: number | undefined
  let last: { watts: number; at: number } | undefined
  let timer: NodeJS.Timeout | undefined
  let isOver = false

  async function read(driver: GpuVendor): Promise<void> {
    const told = await driver.watts(ids).catch(() => undefined)
    if (isOver) return
    if (told !== undefined) note(told, performance.now())
    if (last) timer = setTimeout(() => void read(driver), readMs).unref()
  }

  function note(watts: number, at: number): void {
    const seconds = last ? (at - last.at) / 1000 : 0
    joules = (joules ?? 0) + (seconds * (watts + (last?.watts ?? watts))) / 2
    last = { watts, at }
  }

  if (vendor) void read(vendor)
  return {
    get joules() {
      return joules
    },
    [Symbol.dispose]() {
      isOver = true
      clearTimeout(timer)
    },
  }
}
