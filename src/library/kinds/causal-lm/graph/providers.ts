import { NO_GPUS, type SlotGpus } from '../../../../protocol/library.ts'

/** Execution providers of ONNX Runtime. */
export type Provider = 'cpu' | 'cuda' | 'webgpu'

/** What a slot has to compute with. */
export interface SlotDevices {
  /** The slot's accelerator as its driver calls it, or `cpu`. */
  device: string
  /** Default: none. */
  gpus?: SlotGpus | undefined
}

/**
 * The providers for a slot's accelerator, best first; none on a processor.
 *
 * With WebGPU, what a model remembers stays on the device, and with CUDA, onnxruntime-node brings it back at each step. But
 * WebGPU takes the first device that Vulkan finds, whatever CUDA_VISIBLE_DEVICES says: where the node shows more GPUs than the
 * slot has, it comes last.
 *
 * @param remembers whether a graph hands from run to run what it remembers
 */
export function accelerators({ device, gpus = NO_GPUS }: SlotDevices, remembers: boolean): Provider[] {
  if (device === 'cpu') return []
  return remembers && !gpus.hasOthers ? ['webgpu', 'cuda'] : ['cuda', 'webgpu']
}

/** What is to be said of a provider that was taken, for the log; undefined if all is well. */
export function doubtOf(provider: Provider, { device, gpus = NO_GPUS }: SlotDevices): string | undefined {
  if (provider !== 'webgpu' || !gpus.hasOthers) return undefined
  return (
    `the model runs by WebGPU on the first GPU of several that this node shows, which may not be the slot's (${device}): ` +
    'have the batch system show a job its own GPUs only, or install the CUDA provider'
  )
}
