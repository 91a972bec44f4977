import { amd } from './amd.ts'
import type { GpuVendor } from './gpu-vendor.ts'
import { intel } from './intel.ts'
import { nvidia } from './nvidia.ts'

/** The vendors whose GPUs pilots know how to use, those that are most common first. */
export const GPU_VENDORS: readonly GpuVendor[] = [nvidia, amd, intel]
