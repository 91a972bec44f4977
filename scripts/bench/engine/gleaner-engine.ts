import { writeText } from '../../../src/library/kinds/causal-lm/answers/answer-writer.ts'
import { readConfig } from '../../../src/library/kinds/causal-lm/files/model-config.ts'
import { bytesPerToken, scoresPerToken } from '../../../src/library/kinds/causal-lm/graph/graph.ts'
import { createPlanner } from '../../../src/library/kinds/causal-lm/batches/prompt-groups.ts'
import { loadModel } from '../../../src/library/kinds/causal-lm/graph/model.ts'
import { mergeSettings } from '../../../src/library/kinds/causal-lm/answers/answer-settings.ts'
import { cacheBudget, tokenBudget } from '../../../src/library/kinds/causal-lm/batches/batch-sizes.ts'
import { probeBatching } from '../../../src/library/kinds/causal-lm/graph/batching-probe.ts'
import { createRunner } from '../../../src/library/kinds/causal-lm/batches/continuous-batching.ts'
import type { Row } from '../../../src/library/kinds/causal-lm/answers/write-tokens.ts'
import type { Measure } from './engine.ts'

/**
 * The causal-lm library on tokens, without the process around it.
 *
 * @param asExported the graph as it is, not rewritten
 */
export const runGleaner =
  (asExported: boolean): Measure =>
  async ({ model: folder, prompts, limits, endTokens, threads }) => {
    const config = await readConfig(folder)
    const model = await loadModel(folder, config, {
      graph: 'onnx/model.onnx',
      threads,
      device: 'cpu',
      asExported,
    })
    const free = process.availableMemory()
    const areClaims = limits.every((limit) => limit === 6)
    const abilities = await probeBatching(model)
    const options = {
      model,
      // Random weights repeat themselves, as no model in use does: drafts would be right too often.
      abilities: { ...abilities, drafts: abilities.drafts && areClaims },
      limits: {
        rows: 64,
        tokens: tokenBudget(model.level, model.bytes, { scores: scoresPerToken(model.graph), free }),
        cached: cacheBudget(free, bytesPerToken(model.graph)),
      },
      maxPositions: 2048,
      longAfter: Infinity,
    }
    const run = createRunner({
      ...options,
      plan: createPlanner(options),
      brief: areClaims,
    })
    let tokens = 0
    const rows = prompts.map((prompt, id): Row => {
      const limit = limits[id]!
      const writing = {
        settings: mergeSettings(),
        before: prompt,
        random: () => 0,
        promptTokens: prompt.length,
        limit,
        endTokens: new Set(endTokens),
        decode: (tokens: readonly number[]) => tokens.join(' '),
      }
      return { call: { id, input: null }, prompt, limit, startWriter: () => writeText(writing) }
    })
    const desk = {
      begin: (calls: Parameters<Parameters<typeof run>[1]['begin']>[0]) => Promise.resolve([...calls]),
      end: (_call: unknown, outcome: unknown) => {
        const { value } = outcome as { value: { tokens: { generated: number } } }
        tokens += value.tokens.generated
      },
    }
    await run(rows.slice(0, 4), desk)
    tokens = 0
    const startedAt = performance.now()
    await run(rows, desk)
    return { seconds: (performance.now() - startedAt) / 1000, tokens }
  }
