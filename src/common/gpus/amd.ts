import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { amdGpus, type AmdNode, amdWatts } from '../plain/gpu-driver-output.ts'
import { askDriver } from './driver-command.ts'
import type { GpuVendor } from './gpu-vendor.ts'

/**
 * AMD's GPUs, by what the driver shows below `/sys/class/kfd`: its tools (`amd-smi`, `rocm-smi`) read the same files, and are
 * missing in many containers. GPUs that the batch system has not given to the job cannot be read there.
 *
 * @param sys where the kernel's files are
 */
export const amdBelow = (sys: string): GpuVendor => ({
  name: 'AMD',
  modules: ['amdgpu'],
  variables: ['ROCR_VISIBLE_DEVICES', 'HIP_VISIBLE_DEVICES'],
  async shown() {
    const nodes = path.join(sys, 'class/kfd/kfd/topology/nodes')
    const names = (await readdir(nodes).catch(() => [])).sort((a, b) => Number(a) - Number(b))
    const found = await Promise.all(
      names.map((name) => readNode(sys, path.join(nodes, name)).catch(() => [])),
    )
    return amdGpus(found.flat())
  },
  // The other variables count among the GPUs that the first one leaves, and must not keep what the batch system put there.
  visible(ids) {
    const left = ids.map((_, index) => index).join(',')
    return {
      ROCR_VISIBLE_DEVICES: ids.join(','),
      HIP_VISIBLE_DEVICES: left,
      CUDA_VISIBLE_DEVICES: left,
      GPU_DEVICE_ORDINAL: left,
    }
  },
  async memoryByProcess() {
    const processes = path.join(sys, 'class/kfd/kfd/proc')
    const pids = (await readdir(processes).catch(() => [])).filter((name) => /^\d+$/.test(name))
    const found = await Promise.all(pids.map((pid) => memoryIn(path.join(processes, pid)).catch(() => 0)))
    return new Map(pids.map((pid, i) => [Number(pid), found[i]!]))
  },
  watts: async (ids) =>
    amdWatts(await askDriver('amd-smi', ['metric', '--power', '--json', '--gpu', ...ids])),
})

export const amd = amdBelow('/sys')

/** Nothing for a node that cannot be read. */
async function readNode(sys: string, folder: string): Promise<AmdNode[]> {
  const properties = await readFile(path.join(folder, 'properties'), 'utf8')
  const banks = (await readdir(path.join(folder, 'mem_banks')).catch(() => [])).map((bank) =>
    readFile(path.join(folder, 'mem_banks', bank, 'properties'), 'utf8').catch(() => ''),
  )
  const minor = /^drm_render_minor (\d{1,6})$/m.exec(properties)?.[1] ?? '0'
  const product = path.join(sys, `class/drm/renderD${minor}/device/product_name`)
  return [
    {
      properties,
      memoryBanks: await Promise.all(banks),
      product: await readFile(product, 'utf8').catch(() => ''),
    },
  ]
}

/** A file for each GPU: `vram_ID`, with bytes. */
async function memoryIn(folder: string): Promise<number> {
  const files = (await readdir(folder)).filter((name) => name.startsWith('vram_'))
  const texts = await Promise.all(files.map((name) => readFile(path.join(folder, name), 'utf8')))
  return texts.reduce((sum, text) => sum + (Number(text) || 0), 0)
}
