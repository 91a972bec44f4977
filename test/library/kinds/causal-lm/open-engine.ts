import type { Answer } from '../../../../src/library/kinds/causal-lm/answers/answer-writer.ts'
import { readConfig } from '../../../../src/library/kinds/causal-lm/files/model-config.ts'
import { createGenerate, type Engine } from '../../../../src/library/kinds/causal-lm/generate-function.ts'
import { loadModel } from '../../../../src/library/kinds/causal-lm/graph/model.ts'
import { probeBatching } from '../../../../src/library/kinds/causal-lm/graph/batching-probe.ts'
import type { Tokenizer } from '../../../../src/library/kinds/causal-lm/prompts/tokenizer.ts'
import { GenerateFunction } from '../../../../src/protocol/contexts/context.ts'
import { createRecorder } from '../../support/recording-reporter.ts'

/** Tokens written as numbers, so that prompts and answers can be any tokens. */
export const numbers: Tokenizer = {
  encode: (text) => text.split(' ').map(Number),
  decode: (tokens) => tokens.join(' '),
  chat: undefined,
  endToken: undefined,
  padToken: undefined,
  candidates: () => [],
  encodePair: (text) => ({ tokens: numbers.encode(text, true), types: [] }),
}

/** The engine with a model folder, for tokens instead of texts. Answers have 12 tokens, whichever they are. */
export async function openEngine(folder: string, changes: Partial<Engine> = {}, device = 'cpu') {
  const config = await readConfig(folder)
  const model = await loadModel(folder, config, { graph: 'onnx/model.onnx', threads: 1, device })
  const longAfter = config.longAfter ?? Infinity
  const engine: Engine = {
    model,
    tokenizer: numbers,
    endTokens: new Set(),
    generation: {},
    maxPromptTokens: 400,
    maxPositions: 512,
    longAfter,
    limits: { rows: 10, tokens: 1000, cached: 1e6 },
    abilities: await probeBatching(model, longAfter),
    ...changes,
  }
  const run = createGenerate(engine, GenerateFunction.parse({ maxNewTokens: 12 }))
  return {
    ...engine,
    async answer(prompts: readonly (readonly number[])[]): Promise<number[][]> {
      const reporter = createRecorder()
      await run(
        prompts.map((prompt, id) => ({ id, input: prompt.join(' ') })),
        reporter,
      )
      return prompts.map((_, id) => {
        const outcome = reporter.outcomes.get(id)
        if (!outcome) throw new Error(`call ${id} has not ended`)
        if ('error' in outcome) throw outcome.error as Error
        return numbers.encode((outcome.value as Answer).text, false)
      })
    },
  }
}

/** Numbers in [0, 1), the same for the same seed. */
export function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
