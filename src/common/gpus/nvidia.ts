import { NVIDIA_QUERY, nvidiaGpus, nvidiaMemory, nvidiaWatts } from '../plain/gpu-driver-output.ts'
import { askDriver } from './driver-command.ts'
import type { GpuVendor } from './gpu-vendor.ts'

const PLAIN = '--format=csv,noheader,nounits'
const ask = (...args: string[]) => askDriver('nvidia-smi', args)

/** NVIDIA's GPUs, and parts of them (MIG), by `nvidia-smi`. */
export const nvidia: GpuVendor = {
  name: 'NVIDIA',
  modules: ['nvidia'],
  variables: ['CUDA_VISIBLE_DEVICES'],
  async shown() {
    try {
      const [table, list] = await Promise.all([ask(...NVIDIA_QUERY), ask('-L').catch(() => '')])
      return nvidiaGpus(table, list)
    } catch {
      return []
    }
  },
  visible: (ids) => ({ CUDA_VISIBLE_DEVICES: ids.join(',') }),
  memoryByProcess: async () =>
    nvidiaMemory(await ask('--query-compute-apps=pid,used_memory', PLAIN).catch(() => '')),
  watts: async (ids) => nvidiaWatts(await ask('--query-gpu=power.draw', PLAIN, `--id=${ids.join(',')}`)),
}
