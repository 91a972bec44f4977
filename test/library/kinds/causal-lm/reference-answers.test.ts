import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Answer } from '../../../../src/library/kinds/causal-lm/answers/answer-writer.ts'
import { readConfig } from '../../../../src/library/kinds/causal-lm/files/model-config.ts'
import { createGenerate, type Engine } from '../../../../src/library/kinds/causal-lm/generate-function.ts'
import { loadModel, type Model } from '../../../../src/library/kinds/causal-lm/graph/model.ts'
import {
  type Abilities,
  probeBatching,
} from '../../../../src/library/kinds/causal-lm/graph/batching-probe.ts'
import { GenerateFunction } from '../../../../src/protocol/contexts/context.ts'
import { createRecorder } from '../../support/recording-reporter.ts'
import { numbers } from './open-engine.ts'

interface Expected {
  promptTokens: number[]
  /** What a reference implementation goes on with, greedily. */
  tokens: number[]
}

/** The ways in which a graph can be run; all must give the same. */
const ways: { what: string; limits: Partial<Engine['limits']> }[] = [
  { what: 'one by one', limits: { rows: 1 } },
  { what: 'in batches', limits: {} },
  { what: 'in small batches', limits: { rows: 3, tokens: 40 } },
]

const shapes: [name: string, abilities: Abilities][] = [
  // It counts columns as positions: rows are right as long as they stay in theirs.
  ['multi-head', { prompts: 'end', steps: 'together', starts: 'equal', drafts: false }],
  ['grouped-query', { prompts: 'end', steps: 'end', starts: 'end', drafts: true }],
  ['half-precision', { prompts: 'end', steps: 'end', starts: 'end', drafts: true }],
]

for (const [name, abilities] of shapes) {
  describe(`the ${name} model`, () => {
    const folder = fileURLToPath(new URL(`../../../fixtures/models/${name}`, import.meta.url))
    let model: Model
    let expected: Expected[]
    let endTokens: ReadonlySet<number>
    before(async () => {
      const config = await readConfig(folder)
      endTokens = config.endTokens
      model = await loadModel(folder, config, { graph: 'onnx/model.onnx', threads: 1, device: 'cpu' })
      const lines = (await readFile(`${folder}/expected.jsonl`, 'utf8')).trim().split('\n')
      expected = lines.map((line) => JSON.parse(line) as Expected)
    })
    after(() => model.close())

    test('has the abilities it shows when tried', async () => {
      assert.deepEqual(await probeBatching(model), abilities)
    })

    /** Generates from prompts of tokens as one window. */
    const generate = async (prompts: number[][], limits: Partial<Engine['limits']> = {}) => {
      const engine: Engine = {
        model,
        tokenizer: numbers,
        endTokens,
        generation: {},
        maxPromptTokens: 400,
        maxPositions: 512,
        longAfter: Infinity,
        limits: { rows: 64, tokens: 1000, cached: 1e6, ...limits },
        abilities: await probeBatching(model),
      }
      const most = Math.max(...expected.map(({ tokens }) => tokens.length))
      const run = createGenerate(engine, GenerateFunction.parse({ maxNewTokens: most }))
      const reporter = createRecorder()
      await run(
        prompts.map((prompt, id) => ({ id, input: prompt.join(' ') })),
        reporter,
      )
      return prompts.map((_, id) =>
        numbers.encode((reporter.outcomes.get(id) as { value: Answer }).value.text, false),
      )
    }

    for (const { what, limits } of ways) {
      test(`continues prompts as the reference does, ${what}`, async () => {
        const prompts = expected.map(({ promptTokens }) => promptTokens)
        assert.deepEqual(
          await generate(prompts, limits),
          expected.map(({ tokens }) => tokens),
        )
      })
    }

    test('continues prompts that begin alike as the reference does', async () => {
      for (const { promptTokens, tokens } of expected) {
        const prompts = tokens.map((_, done) => [...promptTokens, ...tokens.slice(0, done)])
        const continued = await generate(prompts)
        continued.forEach((generated, done) => {
          assert.deepEqual(generated.slice(0, tokens.length - done), tokens.slice(done))
        })
      }
    })
  })
}
