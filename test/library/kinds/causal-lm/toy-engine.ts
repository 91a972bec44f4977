import assert from 'node:assert/strict'
import type { z } from 'zod'
import type { Answer } from '../../../../src/library/kinds/causal-lm/answers/answer-writer.ts'
import { createGenerate, type Engine } from '../../../../src/library/kinds/causal-lm/generate-function.ts'
import { GenerateFunction } from '../../../../src/protocol/contexts/context.ts'
import type { JsonValue } from '../../../../src/protocol/primitives.ts'
import { createRecorder } from '../../support/recording-reporter.ts'
import { able, createToy, letters, type ToyModel, type ToyOptions, toyTokenizer } from './toy-model.ts'

export const END = 0
export const vocabSize = letters.length

export interface ToyEngine {
  engine: Engine
  model: ToyModel
  /** Values of inputs, run as one window. */
  runAll: (inputs: readonly JsonValue[], options?: z.input<typeof GenerateFunction>) => Promise<unknown[]>
  /** The same where each has one answer. */
  answer: (inputs: readonly JsonValue[], options?: z.input<typeof GenerateFunction>) => Promise<Answer[]>
}

/** The engine with a toy for its model. */
export function openToy(changes: Partial<Omit<Engine, 'model'>> = {}, toy: ToyOptions = {}): ToyEngine {
  const { abilities, longAfter } = changes
  const model = createToy({
    vocabSize,
    ...(abilities && { abilities }),
    ...(longAfter && { longAfter }),
    ...toy,
  })
  const engine: Engine = {
    model,
    tokenizer: toyTokenizer,
    endTokens: new Set([END]),
    generation: {},
    maxPromptTokens: 199,
    maxPositions: 200,
    limits: { rows: 8, tokens: 400, cached: 10_000 },
    longAfter: Infinity,
    abilities: able,
    ...changes,
  }
  const runAll = async (inputs: readonly JsonValue[], options: z.input<typeof GenerateFunction> = {}) => {
    const run = createGenerate(engine, GenerateFunction.parse(options))
    const reporter = createRecorder()
    await run(
      inputs.map((input, id) => ({ id, input })),
      reporter,
    )
    return inputs.map((_, id) => {
      const outcome = reporter.outcomes.get(id)
      assert.ok(outcome, `call ${id} has not ended`)
      if ('error' in outcome) throw outcome.error as Error
      return outcome.value
    })
  }
  const answer: ToyEngine['answer'] = async (...given) => (await runAll(...given)) as Answer[]
  return { engine, model, runAll, answer }
}
