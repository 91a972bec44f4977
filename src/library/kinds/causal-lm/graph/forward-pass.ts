import type { InferenceSession, Tensor } from 'onnxruntime-node'
import type { Logits } from '../answers/sampling.ts'
import type { Graph } from './graph.ts'
import type { State, StateStore } from './kv-cache.ts'
import type { DeviceScores } from './scores-on-device.ts'
import { HostScores, hostScores, type PassScores } from './scores.ts'
import { booleanTensor, floatsOf, integerTensor, makeTensor, type Numbers } from './tensors.ts'

/* The forward pass of a graph: what goes in, what comes out, and where it stays. */

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

/** Scores for what follows one of a row's new tokens, until the next pass. */
export type ColumnScores = PassScores<[row: number, column: number]>

export interface Seen {
  readonly scores: ColumnScores
  readonly state: State
}

export interface Crossed {
  passes: number
  /** Bytes that went there, and that came back. */
  there: number
  back: number
}

/** Room for logits up to this many numbers is kept from pass to pass. */
const LOGITS_KEPT = 32 << 20

/** The engine tries out what graphs can do, and says itself what comes of it. */
const QUIET: InferenceSession.RunOptions = { logSeverityLevel: 4 }

export interface Passes {
  readonly crossed: Readonly<Crossed>
  forward: (pass: Pass) => Promise<Seen>
  /** The same without a state to go on from, which need not be brought out of the runtime then. */
  score: (pass: Pass) => Promise<ColumnScores>
}

/**
 * The passes of a graph whose state lies in a store.
 *
 * @param where its outputs are: in memory, or all on a device, where scores are looked at
 */
export function createPasses(
  session: InferenceSession,
  graph: Graph,
  store: StateStore,
  where: { readonly onDevice: boolean; readonly scores?: DeviceScores },
): Passes {
  const { onDevice, scores } = where
  const crossed: Crossed = { passes: 0, there: 0, back: 0 }
  const room = createLogitsRoom(graph)
  const reader = scores ? createScoresOnDevice(graph, scores, crossed) : readInMemory(graph, room)
  const count = (feeds: InferenceSession.FeedsType, outputs: InferenceSession.ReturnType) => {
    if (!onDevice) return
    crossed.passes += 1
    for (const tensor of Object.values(feeds)) crossed.there += bytesInMemory(tensor)
    for (const tensor of Object.values(outputs)) crossed.back += bytesInMemory(tensor)
  }
  const forward = async (pass: Pass): Promise<Seen> => {
    reader.forget()
    const tensors = store.room(pass.state, pass.width)
    const fetches: Record<string, Tensor | null> = { logits: onDevice ? null : room.take(pass) }
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
    return {
      scores: await reader.read(pass, checkLogits(graph, pass, outputs)),
      state: store.advance(pass.state, pass.width, given),
    }
  }
  const score = async (pass: Pass): Promise<ColumnScores> => {
    const feeds = toFeeds(graph, pass)
    const logits = onDevice ? null : room.take(pass)
    const outputs = await session.run(feeds, logits ? { logits } : ['logits'], QUIET)
    count(feeds, outputs)
    store.release(pass.state)
    return reader.read(pass, checkLogits(graph, pass, outputs))
  }
  /** A session that leaves outputs on the device binds those it is not asked for to what they were in the last pass. */
  const scoreOnDevice = async (pass: Pass): Promise<ColumnScores> => {
    const seen = await forward(pass)
    store.release(seen.state)
    return seen.scores
  }
  return { crossed, forward, score: scores ? scoreOnDevice : score }
}

/**
 * Tries what all answers come down to: some tokens go in, and the scores of the last one come out.
 *
 * @throws what the runtime does where it lacks something for that
 */
export async function tryPasses(store: StateStore, { forward }: Pick<Passes, 'forward'>): Promise<void> {
  const state = store.blank(1)
  const some = { tokens: [0, 0], positions: [0, 1], mask: [1, 1] }
  const seen = await forward({ rows: 1, width: 2, ...some, state, scored: 1 })
  store.release(seen.state)
  await seen.scores.bring?.()
}

/** Room for logits that is used again by the next pass. */
function createLogitsRoom(graph: Graph) {
  let numbers: Numbers = new Float32Array(0)
  /** Whether the graph has shown that it gives logits as expected, so that there can be room for them beforehand. */
  let regular = false
  return {
    take(pass: Pass): Tensor | null {
      if (!regular) return null
      const columns = columnsOf(graph, pass)
      const length = pass.rows * columns * graph.vocabSize
      if (numbers.length < length || numbers.length > LOGITS_KEPT)
        numbers = graph.logitsType === 'float16' ? new Uint16Array(length) : new Float32Array(length)
      return makeTensor(graph.logitsType, numbers.subarray(0, length), [pass.rows, columns, graph.vocabSize])
    },
    learn(pass: Pass, { dims }: Tensor): void {
      regular ||= pass.width > 1 && dims.length === 3 && dims[1] === columnsOf(graph, pass)
    },
  }
}

function columnsOf({ keepLogits }: Graph, { scored, width }: Pass): number {
  return keepLogits ? scored : width
}

function checkLogits(graph: Graph, pass: Pass, outputs: InferenceSession.ReturnType): Tensor {
  const logits = outputs['logits'] as Tensor
  if (logits.dims[0] !== pass.rows || logits.dims.at(-1) !== graph.vocabSize)
    throw new Error(`the graph gave logits of shape ${logits.dims.join('x')} for ${pass.rows} sequences`)
  return logits
}

interface ScoreReader {
  read(pass: Pass, logits: Tensor): ColumnScores | Promise<ColumnScores>
  /** Lets go of what the last pass left on the device, before the next one needs memory there. */
  forget(): void
}

function readInMemory(graph: Graph, room: ReturnType<typeof createLogitsRoom>): ScoreReader {
  return {
    read(pass, logits) {
      room.learn(pass, logits)
      return hostScores(toLogits(graph, pass, logits))
    },
    forget: () => undefined,
  }
}

/** Reads scores that lie on a device: the likeliest tokens, and all scores once they are asked for. */
function createScoresOnDevice(graph: Graph, scores: DeviceScores, crossed: Crossed): ScoreReader {
  let last: Tensor | undefined
  const forget = () => {
    last?.dispose()
    last = undefined
  }
  const read = async (pass: Pass, logits: Tensor): Promise<ColumnScores> => {
    last = logits
    const given = logits.dims.length === 3 ? (logits.dims[1] as number) : 1
    const columns = Math.min(given, pass.scored)
    let here: ReturnType<typeof toLogits> | undefined
    const bring = async () => {
      if (here) return
      const brought = await scores.bring(logits, columns)
      forget()
      crossed.back += bytesInMemory(brought)
      here = toLogits(graph, pass, brought)
    }
    const best = await scores.best(logits, columns)
    if (!best) await bring()
    crossed.back += best?.byteLength ?? 0
    const at = (row: number, column: number) => {
      if (here) return new HostScores(here(row, column))
      const found = best?.[row * columns + column - (pass.width - columns)] ?? Infinity
      return new UnseenScores(found < graph.vocabSize ? found : -1)
    }
    return { at, bring }
  }
  return { read, forget }
}

/** Scores of which only the best is known here. */
class UnseenScores {
  readonly best: number

  constructor(best: number) {
    this.best = best
  }

  get all(): never {
    throw new Error('the scores are on the device: they must be brought first')
  }
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

function toLogits(graph: Graph, pass: Pass, logits: Tensor): (row: number, column: number) => Logits {
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
