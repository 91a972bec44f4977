import { ContextFilesError } from '../../../common/task-errors.ts'
import type { ModelConfig } from './config.ts'

/*
 * What a graph takes and gives, read from its own inputs and outputs and compared with the model's config. Nothing
 * about any one family of models is assumed.
 */

/** An input or output as onnxruntime describes it; a dimension that varies has a name, or none. */
export interface ValueInfo {
  readonly name: string
  readonly isTensor: boolean
  readonly type?: string
  readonly shape?: ReadonlyArray<number | string>
}

export type FloatType = 'float32' | 'float16'
export type IntegerType = 'int64' | 'int32'

export interface Graph {
  /** The inputs that are whole numbers, and their types. */
  readonly integers: ReadonlyMap<string, IntegerType>
  /** Whether it wants to be told positions; otherwise it counts them itself, padding included. */
  readonly hasPositions: boolean
  /** The input that limits for how many positions, from the end, logits are computed. */
  readonly keepLogits: { readonly name: string; readonly dims: readonly number[] } | undefined
  /** The KV cache as it goes in and comes out: key and value of the first layer, then of the next. */
  readonly past: readonly string[]
  readonly present: readonly string[]
  readonly kvType: FloatType
  readonly kvHeads: number
  readonly headDim: number
  readonly vocabSize: number
}

const REQUIRED = ['input_ids', 'attention_mask']
const POSITIONS = 'position_ids'
const KEEP_LOGITS = ['num_logits_to_keep', 'logits_to_keep']
const PAST = /^past_key_values\.\d+\.(key|value)$/

/**
 * Reads a graph's inputs and outputs.
 *
 * @throws {ContextFilesError} naming `path` when the graph is not a causal language model with a KV cache in the names that
 *   exports of Hugging Face models use, or disagrees with `config`
 */
export function readGraph(
  path: string,
  inputs: readonly ValueInfo[],
  outputs: readonly ValueInfo[],
  config: ModelConfig,
): Graph {
  const takes = new Map(inputs.map((info) => [info.name, info]))
  const gives = new Map(outputs.map((info) => [info.name, info]))
  checkNames(path, takes, gives)

  const layers = countLayers(path, takes, gives)
  if (config.layers !== undefined && config.layers !== layers) disagree(path, 'layers', layers, config.layers)
  const parts = Array.from({ length: layers }, (_, n) => [`${n}.key`, `${n}.value`]).flat()
  const past = parts.map((part) => takes.get(`past_key_values.${part}`) as ValueInfo)
  const [cache] = past as [ValueInfo]
  const uneven = past.find(({ type, shape }) => type !== cache.type || String(shape) !== String(cache.shape))
  if (uneven) fail(path, `has a KV cache of uneven shape: ${uneven.name} is not like ${cache.name}`)
  if (cache.shape?.length !== 4) fail(path, `has ${cache.name} of other than four dimensions`)

  const logits = gives.get('logits') as ValueInfo
  floatType(path, logits)
  const keepLogits = inputs.find(({ name }) => KEEP_LOGITS.includes(name))
  const { heads, hiddenSize } = config
  const headDim = heads && hiddenSize && hiddenSize / heads
  return {
    integers: new Map(inputs.filter(isInteger).map((info) => [info.name, integerType(path, info)])),
    hasPositions: takes.has(POSITIONS),
    keepLogits: keepLogits && { name: keepLogits.name, dims: keepLogits.shape?.length ? [1] : [] },
    past: parts.map((part) => `past_key_values.${part}`),
    present: parts.map((part) => `present.${part}`),
    kvType: floatType(path, cache),
    kvHeads: dimension(path, cache, 1, 'num_key_value_heads', config.kvHeads, heads),
    headDim: dimension(path, cache, 3, 'head_dim', config.headDim, headDim),
    vocabSize: dimension(path, logits, 2, 'vocab_size', config.vocabSize),
  }
}

/** Size of the KV cache of one token, bytes. */
export function bytesPerToken({ past, kvHeads, headDim, kvType }: Graph): number {
  return past.length * kvHeads * headDim * (kvType === 'float16' ? 2 : 4)
}

type Infos = ReadonlyMap<string, ValueInfo>

function checkNames(path: string, takes: Infos, gives: Infos): void {
  const inputs = [...takes.values()]
  if (!inputs.some(isPast))
    fail(path, 'takes no KV cache (past_key_values.N.key): export the model with its past')
  const missing = REQUIRED.find((name) => !takes.has(name))
  if (missing !== undefined) fail(path, `has no input ${missing}: export the model for text generation`)
  const unknown = inputs.filter((info) => !isInteger(info) && !isPast(info)).map(({ name }) => name)
  if (unknown.length > 0)
    fail(path, `wants inputs that are not supported: ${unknown.join(', ')}; use another graph`)
  if (!gives.has('logits'))
    fail(path, `has no output logits; it has ${[...gives.keys()].slice(0, 5).join(', ')}`)
}

/** Layers of the KV cache, each of which must be whole. */
function countLayers(path: string, takes: Infos, gives: Infos): number {
  const layers = [...takes.values()].filter(isPast).length / 2
  for (let layer = 0; layer < layers; layer++) {
    for (const part of [`${layer}.key`, `${layer}.value`]) {
      if (!takes.has(`past_key_values.${part}`))
        fail(path, `has no input past_key_values.${part}, but others like it`)
      if (!gives.has(`present.${part}`))
        fail(path, `has no output present.${part}, though it takes it as past`)
    }
  }
  return layers
}

/**
 * A dimension that both the graph and config.json may state, under `key`: it must be the same in both. One that
 * neither states is `assumed`.
 */
function dimension(
  path: string,
  { name, shape }: ValueInfo,
  axis: number,
  key: string,
  stated: number | undefined,
  assumed?: number,
): number {
  const inGraph = shape?.[axis]
  if (typeof inGraph !== 'number') {
    const size = stated ?? assumed
    if (size !== undefined && Number.isInteger(size)) return size
    return fail(path, `leaves dimension ${axis} of ${name} open: state ${key} in config.json`)
  }
  if (stated !== undefined && stated !== inGraph) disagree(path, key, inGraph, stated)
  return inGraph
}

function isInteger({ name }: ValueInfo): boolean {
  return REQUIRED.includes(name) || name === POSITIONS || KEEP_LOGITS.includes(name)
}

function isPast({ name }: ValueInfo): boolean {
  return PAST.test(name)
}

function floatType(path: string, { name, type }: ValueInfo): FloatType {
  if (type === 'float32' || type === 'float16') return type
  return fail(path, `has ${name} of type ${type}, not float32 or float16: use another graph`)
}

function integerType(path: string, { name, type }: ValueInfo): IntegerType {
  if (type === 'int64' || type === 'int32') return type
  return fail(path, `has ${name} of type ${type}, not int64 or int32: use another graph`)
}

function disagree(path: string, what: string, inGraph: number, inConfig: number): never {
  return fail(path, `has ${inGraph} ${what}, but config.json says ${inConfig}: they are of different models`)
}

function fail(path: string, problem: string): never {
  throw new ContextFilesError(`${path} ${problem}`)
}
