import type * as Runtime from 'onnxruntime-node'
import type { InferenceSession, Tensor } from 'onnxruntime-node'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ContextFilesError } from '../../../../common/task-errors.ts'
import type { ModelConfig } from '../files/model-config.ts'
import { type Graph, readGraph } from './graph.ts'
import type { Logits } from '../answers/sampling.ts'
import { readOutputNames } from './read-output-names.ts'
import { openRewritten } from './rewrite/open-rewritten.ts'
import { createDeviceStore } from './kv-cache-on-device.ts'
import { accelerators, doubtOf, type Provider, type SlotDevices } from './providers.ts'
import { MemoryStore } from './kv-cache-in-memory.ts'
import type { State, StateStore } from './kv-cache.ts'
import { booleanTensor, floatsOf, integerTensor, makeTensor, type Numbers } from './tensors.ts'

/* The one place that calls onnxruntime: a graph loaded from disk, and its forward pass. */

/** New tokens for each row of a batch, and what the model has seen of it. Matrices are flat, row after row. */
export interface Pass {
  readonly rows: number
  /** New tokens of each row. */
  readonly width: number
  /** `rows x width` token ids. */
  readonly tokens: ArrayLike<number>
  /** `rows x width`: where in its sequence each new token stands. */
  readonly positions: ArrayLike<number>
  /** `rows x (columns of the state + width)`: 1, or 0 where there is only padding. */
  readonly mask: ArrayLike<number>
  /** Used up by the pass. */
  readonly state: State
  /** Of how many columns, from the end, scores are wanted. A graph may give more. */
  readonly scored: number
}

export interface Seen {
  /** Scores for the token after one of a row's new tokens. They are overwritten by the next pass. */
  logits: (row: number, column: number) => Logits
  readonly state: State
}

export interface Model {
  readonly graph: Graph
  /** Path of the graph, for messages. */
  readonly path: string
  readonly level: 'memory' | 'device'
  /** Size of graph and weights on disk, bytes. */
  readonly bytes: number
  readonly store: StateStore
  /** Whether the graph was rewritten so that what it remembers stays in place. */
  readonly inPlace: boolean
  /** What has crossed between memory and the device so far. All stays in memory without one. */
  readonly crossed: Readonly<Crossed>
  forward: (pass: Pass) => Promise<Seen>
  /** The same without a state to go on from, which need not be brought out of the runtime then. */
  score: (pass: Pass) => Promise<Seen['logits']>
  close(): Promise<void>
}

export interface Crossed {
  passes: number
  /** Bytes that went there, and that came back. */
  there: number
  back: number
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
    const inPlace = rewritten !== undefined
    if (provider !== 'webgpu') {
      const store = new MemoryStore(graph.state, { inPlace })
      const passes = createPasses(session, graph, store, provider)
      return { path, level, bytes, inPlace, ...passes, close: () => session.release() }
    }
    const onDevice = { ...sessionOptions(options), ...WEBGPU }
    const store = createDeviceStore(graph.state, (arrangement, kept) =>
      runtime.InferenceSession.create(arrangement, { ...onDevice, ...keptOnDevice(kept) }),
    )
    const close = () => store.close().then(() => session.release())
    return { path, level, bytes, inPlace, ...createPasses(session, graph, store, provider), close }
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
      await tryPass(model)
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

async function tryPass({ store, forward }: Model): Promise<void> {
  const state = store.blank(1)
  const seen = await forward({ rows: 1, width: 1, tokens: [0], positions: [0], mask: [1], state, scored: 1 })
  store.release(seen.state)
}

/** The forward pass of a graph whose state lies in a store. */
function createPasses(session: InferenceSession, graph: Graph, store: StateStore, provider: Provider) {
  const onDevice = provider !== 'cpu'
  const crossed: Crossed = { passes: 0, there: 0, back: 0 }
  let logitsRoom: Numbers = new Float32Array(0)
  /** Whether the graph has shown that it gives logits as expected, so that there can be room for them beforehand. */
  let regular = false
  const logitsTensor = (pass: Pass): Tensor | null => {
    if (!regular || onDevice) return null
    const columns = graph.keepLogits ? pass.scored : pass.width
    const length = pass.rows * columns * graph.vocabSize
    if (logitsRoom.length < length || logitsRoom.length > LOGITS_KEPT) {
      logitsRoom = graph.logitsType === 'float16' ? new Uint16Array(length) : new Float32Array(length)
    }
    return makeTensor(graph.logitsType, logitsRoom.subarray(0, length), [pass.rows, columns, graph.vocabSize])
  }
  const readLogits = (pass: Pass, outputs: InferenceSession.ReturnType) => {
    const logits = outputs['logits'] as Tensor
    const [rows, columns] = logits.dims as [number, number]
    if (rows !== pass.rows || logits.dims.at(-1) !== graph.vocabSize)
      throw new Error(`the graph gave logits of shape ${logits.dims.join('x')} for ${pass.rows} sequences`)
    regular ||=
      pass.width > 1 && logits.dims.length === 3 && columns === (graph.keepLogits ? pass.scored : pass.width)
    return toLogits(graph, pass, logits)
  }
  const count = (feeds: InferenceSession.FeedsType, outputs: InferenceSession.ReturnType) => {
    if (!onDevice) return
    crossed.passes += 1
    for (const tensor of Object.values(feeds)) crossed.there += bytesInMemory(tensor)
    for (const tensor of Object.values(outputs)) crossed.back += bytesInMemory(tensor)
  }
  const forward = async (pass: Pass): Promise<Seen> => {
    const tensors = store.room(pass.state, pass.width)
    const fetches: Record<string, Tensor | null> = { logits: logitsTensor(pass) }
    graph.state.forEach(({ output }, i) => (fetches[output] = tensors?.[i] ?? null))
    const feeds = toFeeds(graph, pass)
    // Where the runtime makes the tensors, it must be given names alone.
    const wanted = tensors ? fetches : Object.keys(fetches)
    const outputs = await session.run(feeds, wanted, QUIET).catch((error: unknown) => {
      if (tensors) store.discard(tensors)
      throw error
    })
    count(feeds, outputs)
    const given = tensors ?? graph.state.map(({ output }) => outputs[output] as Tensor)
    return { logits: readLogits(pass, outputs), state: store.advance(pass.state, pass.width, given) }
  }
  const score = async (pass: Pass): Promise<Seen['logits']> => {
    const feeds = toFeeds(graph, pass)
    const logits = logitsTensor(pass)
    const outputs = await session.run(feeds, logits ? { logits } : ['logits'], QUIET)
    count(feeds, outputs)
    store.release(pass.state)
    return readLogits(pass, outputs)
  }
  /** A session that leaves outputs on the device binds those it is not asked for to what they were in the last pass. */
  const scoreOnDevice = async (pass: Pass): Promise<Seen['logits']> => {
    const { logits, state } = await forward(pass)
    store.release(state)
    return logits
  }
  return { graph, store, crossed, forward, score: provider === 'webgpu' ? scoreOnDevice : score }
}

/** Room for logits up to this many numbers is kept from pass to pass. */
const LOGITS_KEPT = 32 << 20

/** The engine tries out what graphs can do, and says itself what comes of it. */
const QUIET: InferenceSession.RunOptions = { logSeverityLevel: 4 }

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
    const kept = (await readOutputNames(path)).filter((name) => name !== 'logits')
    return runtime.InferenceSession.create(path, { ...common, ...WEBGPU, ...keptOnDevice(kept) })
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

function keptOnDevice(outputs: readonly string[]): InferenceSession.SessionOptions {
  return { preferredOutputLocation: Object.fromEntries(outputs.map((name) => [name, 'gpu-buffer'])) }
}

function bytesInMemory(tensor: Tensor): number {
  if (tensor.location !== 'cpu') return 0
  return (tensor.data as Uint8Array).byteLength
}

function toFeeds(graph: Graph, pass: Pass): Record<string, Tensor> {
  const { rows, width, state } = pass
  const feeds: Record<string, Tensor> = {}
  const integers = (name: string, values: ArrayLike<number>, dims: readonly number[]) => {
    const type = graph.integers.get(name)
    if (type) feeds[name] = integerTensor(type, values, dims)
  }
  integers('input_ids', pass.tokens, [rows, width])
  const mask = withRoom(pass)
  integers('attention_mask', mask, [rows, mask.length / rows])
  integers('position_ids', pass.positions, [rows, width])
  if (graph.keepLogits) integers(graph.keepLogits.name, [pass.scored], graph.keepLogits.dims)
  if (graph.hasBranches) feeds['use_cache_branch'] = booleanTensor(state.columns > 0)
  graph.state.forEach(({ input }, i) => (feeds[input] = state.tensors[i] as Tensor))
  return feeds
}

/** A pass's mask with columns for the room that its state has, which hold nothing. */
function withRoom({ rows, width, mask, state: { columns, capacity } }: Pass): ArrayLike<number> {
  if (capacity === columns) return mask
  const wide = new Uint8Array(rows * (capacity + width))
  const from = columns + width
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < columns; i++) wide[row * (capacity + width) + i] = mask[row * from + i] as number
    for (let i = 0; i < width; i++)
      wide[row * (capacity + width) + capacity + i] = mask[row * from + columns + i] as number
  }
  return wide
}

function toLogits(graph: Graph, pass: Pass, logits: Tensor): Seen['logits'] {
  const { dims } = logits
  const vocabulary = graph.vocabSize
  const columns = dims.length === 3 ? (dims[1] as number) : 1
  const scores = floatsOf(logits)
  // A graph may give the last columns only.
  const missing = pass.width - columns
  return (row, column) => {
    const start = (row * columns + column - missing) * vocabulary
    return scores.subarray(start, start + vocabulary)
  }
}
