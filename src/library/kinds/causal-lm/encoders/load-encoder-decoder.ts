import { ContextFilesError } from '../../../../common/task-errors.ts'
import type { GenerateFunction } from '../../../../protocol/contexts/context.ts'
import type { LoadedContext, RunFunction } from '../../../runtime/library-kind.ts'
import type { GraphFile } from '../files/choose-graph.ts'
import { type EncoderDecoder, loadEncoderDecoder } from './encoder-decoder.ts'
import { findGraph } from '../files/find-graph.ts'
import { type UnloadedModel, pathOf, toEndTokens } from '../files/unloaded-model.ts'
import { createPreparer, prepareRows, type Speaker } from '../answers/prepare-prompts.ts'
import { createSampleReporter } from '../answers/several-answers.ts'

/** Loads a model in two graphs, an encoder and a decoder, such as T5 and BART. */
export async function loadPair(
  unloaded: UnloadedModel,
  graphs: readonly GraphFile[],
  functions: ReadonlyMap<string, GenerateFunction>,
): Promise<LoadedContext> {
  const { folder, config, tokenizer, options, threads, slot } = unloaded
  const find = (stems: string[], graph?: string) =>
    pathOf(folder, findGraph(folder, graphs, { graph, slot, stems }))
  const start = config.decoderStart
  if (start.length === 0) {
    throw new ContextFilesError(
      `${folder}/config.json does not say what answers begin with: state decoder_start_token_id`,
    )
  }
  const model = await loadEncoderDecoder(
    {
      encoder: find(['encoder_model']),
      decoder: find(['decoder_model_merged', 'decoder_model'], options.graph),
    },
    {
      threads,
      ...slot,
      start,
      padToken: config.padToken ?? tokenizer.padToken ?? 0,
      vocabSize: config.vocabSize,
      maxBatch: options.maxBatch,
    },
  )
  const maxPositions = config.maxPositions ?? Infinity
  const speaker: Speaker = {
    tokenizer,
    vocabSize: model.vocabSize,
    endTokens: toEndTokens(unloaded),
    generation: config.generation,
    maxPromptTokens: Math.min(options.maxPromptTokens ?? Infinity, maxPositions),
    maxPositions,
    answerStart: start,
  }
  return {
    level: model.level,
    functions: new Map([...functions].map(([name, how]) => [name, toRunFunction(model, speaker, how)])),
    close: () => model.close(),
  }
}

function toRunFunction(model: EncoderDecoder, speaker: Speaker, how: GenerateFunction): RunFunction {
  const toRows = createPreparer(speaker, how)
  return async (window, callReporter) => {
    const reporter = createSampleReporter(callReporter)
    await model.run(await prepareRows(window, toRows, reporter), reporter)
  }
}
