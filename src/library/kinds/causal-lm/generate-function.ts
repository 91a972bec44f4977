import type { GenerateFunction } from '../../../protocol/contexts/context.ts'
import type { RunFunction } from '../../runtime/library-kind.ts'
import { createPlanner } from './batches/prompt-groups.ts'
import type { Model } from './graph/model.ts'
import type { BatchLimits } from './batches/batch-sizes.ts'
import { createPreparer, prepareRows, type Speaker } from './answers/prepare-prompts.ts'
import type { Abilities } from './graph/batching-probe.ts'
import { createRunner } from './batches/continuous-batching.ts'
import { createSampleReporter } from './answers/several-answers.ts'
import { mergeSettings } from './answers/answer-settings.ts'

/** A model that is ready to generate, and what limits it. */
export interface Engine extends Omit<Speaker, 'vocabSize' | 'answerStart'> {
  readonly model: Model
  /** Sequences longer than this are computed in another way, and so apart from others. */
  readonly longAfter: number
  readonly limits: BatchLimits
  readonly abilities: Abilities
}

/** Makes one function of a context, as its options say, into one that runs calls. */
export function createGenerate(engine: Engine, options: GenerateFunction): RunFunction {
  const toRows = createPreparer({ ...engine, vocabSize: engine.model.graph.vocabSize }, options)
  const { maxNewTokens } = mergeSettings(engine.generation, options)
  const brief = options.choices !== undefined || maxNewTokens === 1
  const run = createRunner({ ...engine, plan: createPlanner(engine), brief })
  return async (window, callReporter) => {
    const reporter = createSampleReporter(callReporter)
    return run(await prepareRows(window, toRows, reporter), reporter)
  }
}
