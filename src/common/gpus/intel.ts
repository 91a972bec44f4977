import { intelGpu, intelNumbers } from '../plain/gpu-driver-output.ts'
import { askDriver } from './driver-command.ts'
import type { GpuVendor } from './gpu-vendor.ts'

const ask = (...args: string[]) => askDriver('xpu-smi', ['discovery', ...args, '--json']).catch(() => '')

/** Intel's GPUs, by `xpu-smi`; without it, what the batch system says is all that is known. */
export const intel: GpuVendor = {
  name: 'Intel',
  modules: ['xe', 'i915'],
  variables: ['ZE_AFFINITY_MASK'],
  async shown() {
    const numbers = intelNumbers(await ask())
    const found = numbers.map(async (number) => intelGpu(number, await ask('--device', String(number))))
    return (await Promise.all(found)).filter((gpu) => gpu !== undefined)
  },
  visible: (ids) => ({ ZE_AFFINITY_MASK: ids.join(',') }),
  memoryByProcess: () => Promise.resolve(new Map()),
  watts: () => Promise.resolve(undefined),
}
