import { ContextFilesError } from '../../../common/task-errors.ts'
import type { GenerateFunction, LibrarySpec } from '../../../protocol/contexts/context.ts'
import type { EncoderFunction } from '../../../protocol/contexts/encoder-functions.ts'
import { bundleFolder, type LoadedContext, type Setup } from '../../runtime/library-kind.ts'
import { loadInThreads } from '../../runtime/threads/context-threads.ts'
import { readConfig } from './files/model-config.ts'
import type { GraphFile } from './files/choose-graph.ts'
import { findGraph, listGraphs } from './files/find-graph.ts'
import { createGenerate, type Engine } from './generate-function.ts'
import { bytesPerToken, scoresPerToken } from './graph/graph.ts'
import { loadPair } from './encoders/load-encoder-decoder.ts'
import { loadReader } from './encoders/load-encoder.ts'
import { type UnloadedModel, toEndTokens } from './files/unloaded-model.ts'
import { loadModel, type Model } from './graph/model.ts'
import { cacheBudget, planThreads, tokenBudget } from './batches/batch-sizes.ts'
import { explainCost, probeBatching } from './graph/batching-probe.ts'
import { readTokenizer } from './prompts/tokenizer.ts'

type CausalLmSpec = Extract<LibrarySpec, { library: 'causal-lm' }>

/** Names of graphs that generate by themselves, the likeliest first. */
const DECODERS = ['model', 'decoder_model_merged', 'decoder_with_past_model']

/**
 * Loads a language model in the Hugging Face layout: config.json, tokenizer.json and graphs in onnx/, and, where they
 * exist, generation_config.json, tokenizer_config.json and chat templates. What kind of model it is follows from the
 * graphs, and from what the context's functions ask for.
 *
 * @throws {ContextFilesError} naming the file that is missing, broken, of another model or not supported
 */
export async function loadCausalLm(
  setup: Setup,
  { setup: asked, functions }: CausalLmSpec,
): Promise<LoadedContext> {
  const options = { ...asked, maxBatch: halve(asked.maxBatch, setup) }
  const folder = bundleFolder(setup, options.model)
  const threads = setup.sharedBy ? setup.threads : (options.threads ?? setup.threads)
  const graphs = await listGraphs(folder)

  if (setup.halvings && setup.sharedBy === undefined) {
    process.stderr.write(
      `library: the one before ran out of memory: batches have at most ${options.maxBatch} rows now\n`,
    )
  }
  const parts = planThreads({ threads, weights: largest(graphs), free: freeMemory(setup) })
  if (setup.device === 'cpu' && setup.sharedBy === undefined && parts.count > 1)
    return loadInThreads({ ...setup, threads: parts.each, sharedBy: parts.count }, parts.count)

  const config = await readConfig(folder)
  const tokenizer = await readTokenizer(folder)
  const { device, gpus } = setup
  const unloaded: UnloadedModel = { folder, config, tokenizer, options, threads, slot: { device, gpus } }
  const all = Object.entries(functions)
  const reading = all.filter((entry): entry is [string, EncoderFunction] => isReading(entry[1]))
  const generating = all.filter((entry): entry is [string, GenerateFunction] => !isReading(entry[1]))
  if (generating.length === 0) return loadReader(unloaded, graphs, new Map(reading))
  if (reading.length > 0) {
    throw new ContextFilesError(
      `${reading[0]?.[0]} reads whole texts and ${generating[0]?.[0]} generates, for which models are loaded differently: make two contexts of them`,
    )
  }
  const isPair = graphs.some(({ path }) => /(?:^|\/)encoder_model/.test(path))
  return isPair
    ? loadPair(unloaded, graphs, new Map(generating))
    : loadDecoder(unloaded, graphs, new Map(generating), setup)
}

/** Memory that there is for caches and scores beside a model, bytes: of the device, if it is there and tells how much it has. */
function freeMemory(setup: Setup, model?: Pick<Model, 'level' | 'bytes'>): number {
  const { memory } = setup.gpus
  const isOnDevice = model?.level === 'device' && memory > 0
  const free = isOnDevice ? Math.max(0, memory - model.bytes) : process.availableMemory()
  return halve(free / (setup.sharedBy ?? 1), setup)
}

/** A limit, half as much for each library that ran out of memory before this one. */
function halve(limit: number, { halvings = 0 }: Setup): number {
  return Math.max(1, Math.floor(limit / 2 ** halvings))
}

/** Bytes of the largest graph. */
function largest(graphs: readonly GraphFile[]): number {
  return graphs.reduce((most, { bytes }) => Math.max(most, bytes), 0)
}

function isReading(how: GenerateFunction | EncoderFunction): how is EncoderFunction {
  return 'task' in how && how.task !== 'generate'
}

async function loadDecoder(
  unloaded: UnloadedModel,
  graphs: readonly GraphFile[],
  functions: ReadonlyMap<string, GenerateFunction>,
  setup: Setup,
): Promise<LoadedContext> {
  const { folder, config, tokenizer, options, threads, slot } = unloaded
  const { path: graph } = findGraph(folder, graphs, { graph: options.graph, slot, stems: DECODERS })
  const model = await loadModel(folder, config, { graph, threads, ...slot })
  const maxPositions = config.maxPositions ?? Infinity
  const longAfter = config.longAfter ?? Infinity
  const abilities = await probeBatching(model, Math.min(maxPositions, longAfter))
  const cost = explainCost(abilities)
  if (cost !== undefined) {
    process.stderr.write(
      `library: ${model.path} gives right answers in some ways only: ${cost}. Another export of it may do better\n`,
    )
  }
  const free = freeMemory(setup, model)
  const engine: Engine = {
    model,
    tokenizer,
    endTokens: toEndTokens(unloaded),
    generation: config.generation,
    maxPromptTokens: Math.min(options.maxPromptTokens ?? Infinity, maxPositions - 1),
    maxPositions,
    longAfter,
    limits: {
      rows: options.maxBatch,
      tokens: halve(
        tokenBudget(model.level, model.bytes, { scores: scoresPerToken(model.graph), free }),
        setup,
      ),
      cached: cacheBudget(free, bytesPerToken(model.graph)),
    },
    abilities,
  }
  return {
    level: model.level,
    functions: new Map([...functions].map(([name, how]) => [name, createGenerate(engine, how)])),
    close() {
      reportCrossings(model)
      return model.close()
    },
  }
}

/** Says what went to the device and came back, which is to be no more than tokens, and scores where answers need them. */
function reportCrossings({ crossed: { passes, there, back }, path }: Model): void {
  if (passes === 0) return
  const each = (bytes: number) => Math.round(bytes / passes)
  process.stderr.write(
    `library: ${path} ran ${passes} passes on the device; ${each(there)} bytes went there for each, and ${each(back)} came back\n`,
  )
}
