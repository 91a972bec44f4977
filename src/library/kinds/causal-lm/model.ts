import type * as Runtime from 'onnxruntime-node'
import type { InferenceSession, Tensor } from 'onnxruntime-node'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ContextFilesError } from '../../../common/task-errors.ts'
import type { ModelConfig } from './config.ts'
import { type Graph, readGraph } from './graph.ts'
import type { Logits } from './sampling.ts'

/* The one place that calls onnxruntime: a graph loaded from disk, and its forward pass. */

/** Keys and values of a batch for all positions so far: tensors [rows, heads, positions, size], as the graph orders them. */
export interface Cache {
  readonly positions: number
  readonly tensors: readonly Tensor[]
}

/** New tokens for each row of a batch, and what the model has seen of it. Matrices are flat, row after row. */
export interface Pass {
  readonly rows: number
  /** New tokens of each row. */
  readonly width: number
  /** `rows x width` token ids. */
  readonly tokens: ArrayLike<number>
  /** `rows x width`: where in its sequence each new token stands. */
  readonly positions: ArrayLike<number>
  /** `rows x (cached + width)`: 1, or 0 where there is only padding. */
  readonly mask: ArrayLike<number>
  readonly cache: Cache | undefined
}

export interface Seen {
  /** Scores for the token after the last of a row. */
  logits: (row: number) => Logits
  readonly cache: Cache
}

export interface Model {
  readonly graph: Graph
  /** Path of the graph, for messages. */
  readonly path: string
  readonly level: 'memory' | 'device'
  /** Size of graph and weights on disk, bytes. */
  readonly bytes: number
  forward(pass: Pass): Promise<Seen>
  /** The same without a cache to go on from, which need not be brought out of the runtime then. */
  score(pass: Pass): Promise<Seen['logits']>
  /** Copies rows of a cache, in the given order; a row may be taken more than once. */
  takeRows(cache: Cache, rows: readonly number[]): Cache
  close(): Promise<void>
}

export interface ModelOptions {
  /** File name inside `onnx/`. */
  graph: string
  threads: number
  /** The slot's accelerator, or `cpu`. */
  device: string
}

/**
 * Loads a model's graph.
 *
 * @throws {ContextFilesError} naming the file when it is missing, cut off, or not a graph this engine can run
 */
export async function loadModel(folder: string, config: ModelConfig, options: ModelOptions): Promise<Model> {
  const runtime = await import('onnxruntime-node')
  const path = join(folder, 'onnx', options.graph)
  const bytes = (await sizeOf(path)) + (await sizeOf(`${path}_data`, 0))
  const { session, level } = await openSession(runtime, path, options)
  const graph = readGraph(path, session.inputMetadata, session.outputMetadata, config)
  return {
    graph,
    path,
    level,
    bytes,
    async forward(pass) {
      const outputs = await session.run(toFeeds(runtime, graph, pass))
      const tensors = graph.present.map((name) => outputs[name] as Tensor)
      const positions = (pass.cache?.positions ?? 0) + pass.width
      return { logits: toLogits(graph, pass, outputs), cache: { positions, tensors } }
    },
    score: async (pass) =>
      toLogits(graph, pass, await session.run(toFeeds(runtime, graph, pass), ['logits'])),
    takeRows: (cache, rows) => takeRows(runtime, cache, rows),
    close: () => session.release(),
  }
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

/** Execution providers for accelerators, best first. */
const ACCELERATORS = ['cuda', 'webgpu']

/** Opens a session on the slot's accelerator, or else, saying why, on the CPU. */
async function openSession(runtime: typeof Runtime, path: string, { threads, device }: ModelOptions) {
  const options: InferenceSession.SessionOptions = {
    graphOptimizationLevel: 'all',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    logSeverityLevel: 3,
  }
  const refusals: string[] = []
  for (const name of device === 'cpu' ? [] : ACCELERATORS) {
    try {
      const session = await runtime.InferenceSession.create(path, { ...options, executionProviders: [name] })
      return { session, level: 'device' } as const
    } catch (error) {
      refusals.push(`${name}: ${(error as Error).message}`)
    }
  }
  const session = await runtime.InferenceSession.create(path, options).catch((error: unknown) => {
    const reason = (error as Error).message.trim()
    throw new ContextFilesError(`${path} cannot be loaded; it or its data file may be cut off: ${reason}`, {
      cause: error,
    })
  })
  if (refusals.length > 0) {
    process.stderr.write(
      `library: ${device} cannot be used, the model runs on the CPU: ${refusals.join('; ')}\n`,
    )
  }
  return { session, level: 'memory' } as const
}

function toFeeds(runtime: typeof Runtime, graph: Graph, pass: Pass): Record<string, Tensor> {
  const { rows, width, cache } = pass
  const feeds: Record<string, Tensor> = {}
  const integers = (name: string, values: ArrayLike<number>, dims: readonly number[]) => {
    feeds[name] =
      graph.integers.get(name) === 'int64'
        ? new runtime.Tensor('int64', toInt64(values), dims)
        : new runtime.Tensor('int32', Int32Array.from(values), dims)
  }
  integers('input_ids', pass.tokens, [rows, width])
  integers('attention_mask', pass.mask, [rows, pass.mask.length / rows])
  if (graph.hasPositions) integers('position_ids', pass.positions, [rows, width])
  if (graph.keepLogits) integers(graph.keepLogits.name, [1], graph.keepLogits.dims)
  graph.past.forEach((name, i) => {
    const tensor = cache?.tensors[i]
    feeds[name] = tensor ? toInput(tensor) : emptyCache(runtime, graph, rows)
  })
  return feeds
}

/**
 * What was an output as an input. onnxruntime hands out half-precision numbers as a Float16Array but does not take one
 * back: it wants to see the bits. Its Tensor class insists on Float16Array, so this stands in for one.
 */
function toInput(tensor: Tensor): Tensor {
  if (tensor.type !== 'float16') return tensor
  const { buffer, byteOffset, length } = tensor.data as Uint16Array
  const { type, dims, location } = tensor
  return { type, dims, location, data: new Uint16Array(buffer, byteOffset, length) } as unknown as Tensor
}

/** Writes the low halves only, which is many times faster than making a BigInt of each value. None is negative. */
function toInt64(values: ArrayLike<number>): BigInt64Array {
  const wide = new BigInt64Array(values.length)
  const halves = new Int32Array(wide.buffer)
  for (let i = 0; i < values.length; i++) halves[2 * i] = values[i] as number
  return wide
}

function emptyCache(runtime: typeof Runtime, { kvType, kvHeads, headDim }: Graph, rows: number): Tensor {
  const dims = [rows, kvHeads, 0, headDim]
  return kvType === 'float32'
    ? new runtime.Tensor('float32', new Float32Array(0), dims)
    : new runtime.Tensor('float16', new Uint16Array(0), dims)
}

function toLogits(graph: Graph, pass: Pass, outputs: Readonly<Record<string, Tensor>>): Seen['logits'] {
  const { dims, data } = outputs['logits'] as Tensor
  const [rows, positions, vocabulary] = dims as [number, number, number]
  if (rows !== pass.rows || vocabulary !== graph.vocabSize) {
    throw new Error(`the graph gave logits of shape ${dims.join('x')} for ${pass.rows} sequences`)
  }
  const scores = data as Float32Array
  return (row) => {
    const end = (row + 1) * positions * vocabulary
    return scores.subarray(end - vocabulary, end)
  }
}

function takeRows(runtime: typeof Runtime, cache: Cache, rows: readonly number[]): Cache {
  const tensors = cache.tensors.map((tensor) => {
    const source = tensor.data as Float32Array
    const [from, ...rest] = tensor.dims as [number, ...number[]]
    const size = source.length / from
    const copy = new (source.constructor as Float32ArrayConstructor)(rows.length * size)
    rows.forEach((row, i) => copy.set(source.subarray(row * size, (row + 1) * size), i * size))
    return new runtime.Tensor(tensor.type as 'float32', copy, [rows.length, ...rest])
  })
  return { positions: cache.positions, tensors }
}
