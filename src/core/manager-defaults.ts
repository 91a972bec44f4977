import { defaultConfig } from './scheduler/state.ts'

/** What the manager and its workers go by where nothing else is said, in factory.yaml or in code. */
export const managerDefaults = {
  /** A worker counts as gone when it was not heard from for this long, milliseconds. */
  workerTimeoutMs: defaultConfig.workerTimeoutMs,
  /** Work a worker keeps in hand, in milliseconds at its own rate. */
  leaseTargetMs: 5_000,
  /** A worker without work for this long leaves, milliseconds. */
  idleMs: 120_000,
  /** What of a context outlives a task. */
  contextMode: 'pervasive',
  /** Most bytes that large arguments and results may take on disk. */
  blobBytes: 64 * 2 ** 30,
} as const
