import { ContextFilesError } from '../../../../common/task-errors.ts'
import type { ModelConfig } from '../files/model-config.ts'

/*
 * What a graph takes and gives, read from its own inputs and outputs and, where they leave sizes open, from the model's
 * config. Nothing about any one family of models is assumed: what it remembers is whatever goes in and comes out in pairs.
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

/** One part of what the model remembers of each row: keys of a layer, or the state of a convolution. */
export interface StatePort {
  readonly input: string
  readonly output: string
  readonly type: FloatType
  /** Sizes of all dimensions, rows first. Those of rows, and of the one that grows, are 0. */
  readonly dims: readonly number[]
  /** The dimension that grows by one with each token; undefined for a state of fixed size. */
  readonly grows: number | undefined
}

export interface Graph {
  /** The inputs that are whole numbers, and their types. */
  readonly integers: ReadonlyMap<string, IntegerType>
  /** Whether it wants to be told which columns are padding; otherwise it has no way to know. */
  readonly hasMask: boolean
  /** Whether it wants to be told positions; otherwise it counts them itself, perhaps padding included. */
  readonly hasPositions: boolean
  /** The input that limits for how many positions, from the end, logits are computed. */
  readonly keepLogits: { readonly name: string; readonly dims: readonly number[] } | undefined
  /** Whether it wants to be told if there is something to go on from (`use_cache_branch`). */
  readonly hasBranches: boolean
  /** What it remembers, part by part. */
  readonly state: readonly StatePort[]
  readonly logitsType: FloatType
  readonly vocabSize: number
}

const IDS = 'input_ids'
const MASK = 'attention_mask'
const POSITIONS = 'position_ids'
const KEEP_LOGITS = ['num_logits_to_keep', 'logits_to_keep']
/** Graphs that can start and go on are told by it which of the two they do. */
const BRANCH = 'use_cache_branch'
/** Outputs of models that make vectors of texts. */
const OF_TEXTS = ['last_hidden_state', 'sentence_embedding', 'token_embeddings']

/**
 * Reads a graph's inputs and outputs.
 *
 * @throws {ContextFilesError} naming `path` when the graph is not a causal language model that remembers what it has seen, or
 *   disagrees with `config`
 */
export function readGraph(
  path: string,
  inputs: readonly ValueInfo[],
  outputs: readonly ValueInfo[],
  config: ModelConfig,
): Graph {
  const pairs = pairState(inputs, outputs)
  checkNames(path, inputs, outputs, pairs)
  const state = pairs.map(([input, output]) => toPort(path, input, output, config))
  const layers = new Set(pairs.map(([{ name }]) => /\d+/.exec(name)?.[0])).size
  // Fewer are fine: layers may share what they remember, or remember nothing.
  if (config.layers !== undefined && layers > config.layers) disagree(path, 'layers', layers, config.layers)

  const logits = outputs.find(({ name }) => name === 'logits') as ValueInfo
  const keepLogits = inputs.find(({ name }) => KEEP_LOGITS.includes(name))
  const names = new Set(inputs.map(({ name }) => name))
  return {
    integers: new Map(inputs.filter(isInteger).map((info) => [info.name, integerType(path, info)])),
    hasMask: names.has(MASK),
    hasBranches: names.has(BRANCH),
    hasPositions: names.has(POSITIONS),
    keepLogits: keepLogits && { name: keepLogits.name, dims: keepLogits.shape?.length ? [1] : [] },
    state,
    logitsType: floatType(path, logits),
    vocabSize: vocabSize(path, logits, config.vocabSize),
  }
}

/** Size of what the graph remembers of one more token, bytes. */
export function bytesPerToken({ state }: Graph): number {
  return state.reduce((sum, port) => sum + (port.grows === undefined ? 0 : portSize(port)), 0)
}

/** Size of what the graph remembers of one row, whatever its length, bytes. */
export function bytesPerRow({ state }: Graph): number {
  return state.reduce((sum, port) => sum + (port.grows === undefined ? portSize(port) : 0), 0)
}

/** Size of the scores that each token of a prompt has, though those of the last are enough, bytes. */
export function scoresPerToken({ keepLogits, logitsType, vocabSize }: Graph): number {
  return keepLogits ? 0 : vocabSize * bytesOf(logitsType)
}

function bytesOf(type: FloatType): number {
  return type === 'float16' ? 2 : 4
}

/** Bytes of a row, or of one column of a row where the port grows. */
function portSize({ dims, grows, type }: StatePort): number {
  const sizes = dims.filter((_, axis) => axis > 0 && axis !== grows)
  return sizes.reduce((product, size) => product * size, bytesOf(type))
}

type Pair = readonly [input: ValueInfo, output: ValueInfo]

/** Inputs and outputs that are one thing before and after a pass: their names differ in words for just that. */
function pairState(inputs: readonly ValueInfo[], outputs: readonly ValueInfo[]): Pair[] {
  const given = new Map(outputs.map((info) => [stem(info.name), info]))
  return inputs
    .filter((info) => !isInteger(info))
    .flatMap((input) => {
      const output = given.get(stem(input.name))
      return output ? [[input, output] as const] : []
    })
}

/** A name without the words that tell before from after: `past_key_values.0.key` and `present.0.key` are one. */
function stem(name: string): string {
  return name
    .toLowerCase()
    .replace(/(past|present)(_key_values?)?/, '')
    .replace(/(^|[._])(in|out|input|output|old|new|prev|next|updated|cache|params)(?=[._]|$)/g, '')
    .replace(/[._]+/g, '.')
    .replace(/^\./, '')
}

function checkNames(
  path: string,
  inputs: readonly ValueInfo[],
  outputs: readonly ValueInfo[],
  pairs: readonly Pair[],
): void {
  const paired = new Set(pairs.map(([{ name }]) => name))
  const before = inputs.filter(({ name }) => /past|cache_params/i.test(name))
  const lonely = before.find(({ name }) => !paired.has(name))
  if (lonely && paired.size > 0) fail(path, `has no output that goes on from its input ${lonely.name}`)
  const given = new Set(pairs.map(([, { name }]) => name))
  const orphan = outputs.find(({ name }) => /present/i.test(name) && !given.has(name))
  if (orphan && paired.size > 0) fail(path, `has no input that its output ${orphan.name} goes on from`)
  if (paired.size === 0)
    fail(
      path,
      outputs.some(({ name, shape }) => OF_TEXTS.includes(name) || (name === 'logits' && shape?.length === 2))
        ? 'reads whole texts and does not go on from them: call it by functions with `task: embed`, `classify` or `score`'
        : 'takes no KV cache (past_key_values.N.key): export the model with its past',
    )
  if (!inputs.some(({ name }) => name === IDS))
    fail(path, `has no input ${IDS}: export the model for text generation`)
  const isKnown = (info: ValueInfo) => isInteger(info) || paired.has(info.name) || info.name === BRANCH
  const unknown = inputs.filter((info) => !isKnown(info)).map(({ name }) => name)
  if (unknown.length > 0)
    fail(path, `wants inputs that are not supported: ${unknown.join(', ')}; use another graph`)
  if (!outputs.some(({ name }) => name === 'logits')) {
    const some = outputs.slice(0, 5).map(({ name }) => name)
    fail(path, `has no output logits; it has ${some.join(', ')}`)
  }
}

/** Words in the name of a dimension that counts tokens. */
const TOKENS = /seq|past|len|total|present|kv_|position|\+/i

function toPort(path: string, input: ValueInfo, output: ValueInfo, config: ModelConfig): StatePort {
  const shape = input.shape ?? []
  const open = [...shape.keys()].filter((axis) => axis > 0 && typeof shape[axis] !== 'number')
  const grows = growingAxis(input, output, open)
  const dims = shape.map((size, axis) => {
    if (axis === 0 || axis === grows) return 0
    return typeof size === 'number' ? size : sizeFromConfig(path, input, axis, config)
  })
  if (floatType(path, input) !== floatType(path, output))
    fail(path, `takes ${input.name} as ${input.type}, but gives ${output.name} as ${output.type}`)
  return { input: input.name, output: output.name, type: floatType(path, input), dims, grows }
}

/** The dimension that has one more column after each token: named after them, or open where keys and values have theirs. */
function growingAxis(input: ValueInfo, output: ValueInfo, open: readonly number[]): number | undefined {
  const cache = isCache(input)
  if (cache && input.shape?.length === 4 && open.includes(2)) return 2
  const named = open.find((axis) => TOKENS.test(`${input.shape?.[axis]} ${output.shape?.[axis]}`))
  return named ?? (cache ? open[0] : undefined)
}

function isCache({ name }: ValueInfo): boolean {
  return /(^|[._])(key|value|k|v)s?([._]|$)/i.test(name)
}

/** Keys and values are [rows, heads, tokens, size], and config.json says what the graph leaves open. */
function sizeFromConfig(path: string, info: ValueInfo, axis: number, config: ModelConfig): number {
  const { heads, hiddenSize, kvHeads, headDim } = config
  const attention = isCache(info) && info.shape?.length === 4
  const size =
    axis === 1 ? (kvHeads ?? heads) : axis === 3 ? (headDim ?? perHead(hiddenSize, heads)) : undefined
  if (attention && size !== undefined && Number.isInteger(size)) return size
  const key = axis === 1 ? 'num_key_value_heads' : 'head_dim'
  return fail(
    path,
    attention
      ? `leaves dimension ${axis} of ${info.name} open: state ${key} in config.json`
      : `leaves dimension ${axis} of ${info.name} open: export it with that size fixed`,
  )
}

function perHead(hiddenSize: number | undefined, heads: number | undefined): number | undefined {
  return hiddenSize && heads && hiddenSize / heads
}

function vocabSize(path: string, { name, shape }: ValueInfo, stated: number | undefined): number {
  const inGraph = shape?.at(-1)
  if (typeof inGraph !== 'number')
    return stated ?? fail(path, `leaves the last dimension of ${name} open: state vocab_size in config.json`)
  if (stated !== undefined && stated !== inGraph) disagree(path, 'vocab_size', inGraph, stated)
  return inGraph
}

function isInteger({ name }: ValueInfo): boolean {
  return [IDS, MASK, POSITIONS, ...KEEP_LOGITS].includes(name)
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
