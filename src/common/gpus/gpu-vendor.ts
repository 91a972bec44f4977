import type { ShownGpu } from '../plain/gpu-driver-output.ts'

/** What has to be known of one vendor's GPUs. */
export interface GpuVendor {
  readonly name: string
  /** What its driver is called in the kernel. */
  readonly modules: readonly string[]
  /** Variables by which batch systems tell a job of its GPUs. */
  readonly variables: readonly string[]
  /** GPUs that the driver shows this process; none where it is not there. Never fails. */
  readonly shown: () => Promise<ShownGpu[]>
  /** Variables that show a process these GPUs, and no others of the vendor. */
  readonly visible: (ids: readonly string[]) => Record<string, string>
  /** Memory that processes have on GPUs, bytes by process id, as far as the driver tells. Never fails. */
  readonly memoryByProcess: () => Promise<ReadonlyMap<number, number>>
  /**
   * Power that these GPUs draw together, watts; undefined if the driver does not tell.
   *
   * @throws if its command is not there, or fails
   */
  readonly watts: (ids: readonly string[]) => Promise<number | undefined>
}
