import { InferenceSession } from 'onnxruntime-node'
import { ContextFilesError } from '../../../../common/task-errors.ts'
import { accelerators, doubtOf, type SlotDevices } from './providers.ts'

export interface SessionOptions extends SlotDevices {
  threads: number
}

/**
 * Opens a graph that remembers nothing of its own, on the slot's accelerator, or else, saying why, on the CPU.
 *
 * @throws {ContextFilesError} naming the graph that cannot be loaded
 */
export async function openSession(
  path: string,
  { threads, ...slot }: SessionOptions,
): Promise<{ session: InferenceSession; level: 'memory' | 'device' }> {
  const options: InferenceSession.SessionOptions = {
    graphOptimizationLevel: 'all',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    // Batches differ in shape: an arena and a plan for one shape only keep memory from the others.
    enableCpuMemArena: false,
    enableMemPattern: false,
    logSeverityLevel: 4,
  }
  const refusals: string[] = []
  for (const provider of accelerators(slot, false)) {
    try {
      const session = await InferenceSession.create(path, { ...options, executionProviders: [provider] })
      const doubt = doubtOf(provider, slot)
      if (doubt !== undefined) process.stderr.write(`library: ${doubt}\n`)
      return { session, level: 'device' }
    } catch (error) {
      refusals.push(`${provider}: ${(error as Error).message}`)
    }
  }
  const session = await InferenceSession.create(path, options).catch((error: unknown) => {
    const reason = (error as Error).message.trim()
    throw new ContextFilesError(`${path} cannot be loaded; it or its data file may be cut off: ${reason}`, {
      cause: error,
    })
  })
  if (refusals.length > 0)
    process.stderr.write(
      `library: ${slot.device} cannot be used, ${path} runs on the CPU: ${refusals.join('; ')}\n`,
    )
  return { session, level: 'memory' }
}
