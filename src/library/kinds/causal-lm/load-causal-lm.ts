import type { LibrarySpec } from '../../../protocol/context.ts'
import { bundleFolder, type LoadedContext, type Setup } from '../../runtime/library-kind.ts'
import { readConfig } from './config.ts'
import { createGenerate, type Engine } from './generate.ts'
import { bytesPerToken, scoresPerToken } from './graph.ts'
import { loadModel, type Model } from './model.ts'
import { cacheBudget, tokenBudget } from './plan.ts'
import { explainCost, probe } from './probe.ts'
import { readTokenizer } from './tokenizer.ts'

type CausalLmSpec = Extract<LibrarySpec, { library: 'causal-lm' }>

/**
 * Loads a causal language model in the Hugging Face layout: config.json, tokenizer.json and a graph in onnx/, and, where
 * they exist, generation_config.json, tokenizer_config.json and chat_template.jinja.
 *
 * @throws {BundleError} naming the file that is missing, broken, of another model or not supported
 */
export async function loadCausalLm(
  setup: Setup,
  { setup: options, functions }: CausalLmSpec,
): Promise<LoadedContext> {
  const folder = bundleFolder(setup, options.model)
  const config = await readConfig(folder)
  const tokenizer = await readTokenizer(folder)
  const model = await loadModel(folder, config, {
    graph: options.graph,
    threads: options.threads ?? setup.threads,
    device: setup.device,
  })
  const maxPositions = config.maxPositions ?? Infinity
  const longAfter = config.longAfter ?? Infinity
  const abilities = await probe(model, Math.min(maxPositions, longAfter))
  const cost = explainCost(abilities)
  if (cost !== undefined) {
    process.stderr.write(
      `library: ${model.path} gives right answers in some ways only: ${cost}. Another export of it may do better\n`,
    )
  }
  const free = process.availableMemory()
  const engine: Engine = {
    model,
    tokenizer,
    endTokens: toEndTokens(config.endTokens, tokenizer.endToken),
    generation: config.generation,
    maxPromptTokens: Math.min(options.maxPromptTokens ?? Infinity, maxPositions - 1),
    maxPositions,
    longAfter,
    limits: {
      rows: options.maxBatch,
      tokens: tokenBudget(model.level, model.bytes, { scores: scoresPerToken(model.graph), free }),
      cached: cacheBudget(free, bytesPerToken(model.graph)),
    },
    abilities,
  }
  return {
    level: model.level,
    functions: new Map(Object.entries(functions).map(([name, how]) => [name, createGenerate(engine, how)])),
    close() {
      reportCrossings(model)
      return model.close()
    },
  }
}

/** Says what went to the device and came back, which is to be no more than tokens and scores. */
function reportCrossings({ crossed: { passes, there, back }, path }: Model): void {
  if (passes === 0) return
  const each = (bytes: number) => Math.round(bytes / passes)
  process.stderr.write(
    `library: ${path} ran ${passes} passes on the device; ${each(there)} bytes went there for each, and ${each(back)} came back\n`,
  )
}

/** The tokenizer's end token stands in where the model's config names none. */
function toEndTokens(configured: ReadonlySet<number>, named: number | undefined): ReadonlySet<number> {
  return configured.size > 0 || named === undefined ? configured : new Set([named])
}
