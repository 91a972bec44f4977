import type * as Runtime from 'onnxruntime-node'
import type { InferenceSession } from 'onnxruntime-node'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ContextFilesError } from '../../../../common/task-errors.ts'
import type { ModelConfig } from '../files/model-config.ts'
import { type Graph, readGraph } from './graph.ts'
import { readOutputNames } from './read-output-names.ts'
import { openRewritten } from './rewrite/open-rewritten.ts'
import { createDeviceStore } from './kv-cache-on-device.ts'
import { createPasses, type Passes, tryPasses } from './forward-pass.ts'
import { createDeviceScores } from './scores-on-device.ts'
import { accelerators, doubtOf, type Provider, type SlotDevices } from './providers.ts'
import { MemoryStore } from './kv-cache-in-memory.ts'
import type { StateStore } from './kv-cache.ts'

/* A graph loaded from disk, and what it runs on: the one place that opens sessions of models with states. */

export interface Model extends Passes {
  readonly graph: Graph
  /** Path of the graph, for messages. */
  readonly path: string
  readonly level: 'memory' | 'device'
  /** Size of graph and weights on disk, bytes. */
  readonly bytes: number
  readonly store: StateStore
  /** Whether the graph was rewritten so that what it remembers stays in place. */
  readonly inPlace: boolean
  close(): Promise<void>
}

export interface ModelOptions extends SlotDevices {
  /** Path in the model's folder. */
  graph: string
  threads: number
  /** Runs the graph as it was exported, though it may be known to run faster written otherwise. */
  asExported?: boolean
}

/**
 * Loads a model's graph.
 *
 * @throws {ContextFilesError} naming the file when it is missing, cut off, or not a graph this engine can run
 */
export async function loadModel(folder: string, config: ModelConfig, options: ModelOptions): Promise<Model> {
  const runtime = await import('onnxruntime-node')
  const path = join(folder, options.graph)
  const bytes = (await sizeOf(path)) + (await sizeOf(`${path}_data`, 0))
  const open = async (provider: Provider): Promise<Model> => {
    const level = provider === 'cpu' ? 'memory' : 'device'
    const rewritten =
      provider === 'cpu' && !options.asExported
        ? await openRewritten(runtime, path, config, sessionOptions(options))
        : undefined
    const session = rewritten ?? (await openSession(runtime, path, provider, options))
    const graph = readGraph(path, session.inputMetadata, session.outputMetadata, config)
    const known = { graph, path, level, bytes, inPlace: rewritten !== undefined } as const
    if (provider !== 'webgpu') {
      const store = new MemoryStore(graph.state, known)
      const passes = createPasses(session, graph, store, { onDevice: provider !== 'cpu' })
      return { ...known, store, ...passes, close: () => session.release() }
    }
    const onDevice = { ...sessionOptions(options), ...WEBGPU }
    const store = createDeviceStore(graph.state, (arrangement, kept) =>
      runtime.InferenceSession.create(arrangement, { ...onDevice, ...keptOnDevice(kept) }),
    )
    const scores = createDeviceScores(graph.logitsType, graph.vocabSize, (looking) =>
      runtime.InferenceSession.create(looking, { ...onDevice, extra: ALL_THERE }),
    )
    const close = async () => {
      await scores.close()
      await store.close()
      await session.release()
    }
    return { ...known, store, ...createPasses(session, graph, store, { onDevice: true, scores }), close }
  }
  return openFirst(open, options)
}

/** Opens a model on the slot's accelerator, or else, saying why, on the CPU. */
async function openFirst(open: (provider: Provider) => Promise<Model>, slot: SlotDevices): Promise<Model> {
  const refusals: string[] = []
  for (const provider of accelerators(slot, true)) {
    let model: Model | undefined
    try {
      model = await open(provider)
      // A device may lack what a graph needs, such as half precision, which shows only when it runs.
      await tryPasses(model.store, model)
      const doubt = doubtOf(provider, slot)
      if (doubt !== undefined) process.stderr.write(`library: ${doubt}\n`)
      return model
    } catch (error) {
      refusals.push(`${provider}: ${(error as Error).message}`)
      await model?.close().catch(() => undefined)
    }
  }
  const model = await open('cpu')
  if (refusals.length > 0) {
    process.stderr.write(
      `library: ${slot.device} cannot be used, the model runs on the CPU: ${refusals.join('; ')}\n`,
    )
  }
  return model
}

async function sizeOf(path: string, otherwise?: number): Promise<number> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if (otherwise !== undefined) return otherwise
    throw new ContextFilesError(
      `${path} is missing: put the graph there, or name another in the context's setup`,
      {
        cause: error,
      },
    )
  }
}

async function openSession(
  runtime: typeof Runtime,
  path: string,
  provider: Provider,
  options: ModelOptions,
): Promise<InferenceSession> {
  const common = sessionOptions(options)
  if (provider === 'cuda')
    return runtime.InferenceSession.create(path, { ...common, executionProviders: [provider] })
  if (provider === 'webgpu') {
    const kept = keptOnDevice(await readOutputNames(path))
    return runtime.InferenceSession.create(path, { ...common, ...WEBGPU, ...kept })
  }
  try {
    return await runtime.InferenceSession.create(path, common)
  } catch (error) {
    const reason = (error as Error).message.trim()
    throw new ContextFilesError(`${path} cannot be loaded; it or its data file may be cut off: ${reason}`, {
      cause: error,
    })
  }
}

function sessionOptions({ threads }: ModelOptions): InferenceSession.SessionOptions {
  return {
    graphOptimizationLevel: 'all',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    // Passes differ in shape from one to the next: an arena and a plan for one shape only keep memory from the others.
    enableCpuMemArena: true,
    enableMemPattern: false,
    logSeverityLevel: 4,
  }
}

const WEBGPU: InferenceSession.SessionOptions = { executionProviders: ['webgpu'] }
/** Has a graph refused of which some operator would run on the processor, with what it needs brought there. */
const ALL_THERE = { session: { disable_cpu_ep_fallback: '1' } }

function keptOnDevice(outputs: readonly string[]): InferenceSession.SessionOptions {
  return { preferredOutputLocation: Object.fromEntries(outputs.map((name) => [name, 'gpu-buffer'])) }
}
