import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { generateClaims } from '../../../scripts/claims.ts'
import type { Answer } from '../../../src/library/causal-lm/answer.ts'
import { readConfig } from '../../../src/library/causal-lm/config.ts'
import { createGenerate } from '../../../src/library/causal-lm/generate.ts'
import { loadModel } from '../../../src/library/causal-lm/model.ts'
import { probe } from '../../../src/library/causal-lm/probe.ts'
import type { Tokenizer } from '../../../src/library/causal-lm/tokenizer.ts'
import type { LoadedContext } from '../../../src/library/kind.ts'
import { loadContext } from '../../../src/library/load.ts'
import { ContextFile, GenerateFunction, LibrarySpec } from '../../../src/protocol/context.ts'
import { createRecorder, valuesOf } from '../recorder.ts'

/** One answer of the reference: the same weights in another implementation, one prompt at a time. */
interface Reference {
  prompt: string
  promptTokens: number[]
  tokens: number[]
  text: string
}

const template = fileURLToPath(new URL('../../../templates/fact-verification', import.meta.url))
const fixture = fileURLToPath(new URL('../../fixtures/fact-verification/greedy.jsonl', import.meta.url))
const references = readFileSync(fixture, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Reference)

describe('the fact verification model', () => {
  let context: LoadedContext
  before(async () => {
    const {
      name,
      bundles: _,
      ...rest
    } = ContextFile.parse(parse(readFileSync(`${template}/context.yaml`, 'utf8')))
    const spec = LibrarySpec.parse(rest)
    assert.equal(spec.library, 'causal-lm')
    const asIs = GenerateFunction.parse({ prompt: '{{ text }}', maxNewTokens: 6 })
    context = await loadContext({
      type: 'setup',
      context: {
        id: 'c'.repeat(64),
        name,
        bundles: {},
        spec: { ...spec, functions: { ...spec.functions, asIs } },
      },
      bundles: { model: `${template}/model` },
      threads: 1,
      device: 'cpu',
    })
  })
  after(() => context.close())

  test(`answers ${references.length} prompts as the reference does`, async () => {
    assert.ok(references.length >= 200)
    const answers = await valuesOf<Answer>(
      context,
      'asIs',
      references.map(({ prompt }) => ({ text: prompt })),
    )
    assert.deepEqual(
      answers.map(({ text, tokens }) => [text, tokens.prompt]),
      references.map(({ text, promptTokens }) => [text, promptTokens.length]),
    )
  })

  test('is right about at least 90 of 100 claims about things it never met', async () => {
    const claims = [...generateClaims({ split: 'held-out', count: 3_000 })]
    const answers = await valuesOf<Answer>(
      context,
      'verify',
      claims.map(({ claim, evidence }) => ({ claim, evidence })),
    )
    const right = answers.filter(({ label }, i) => label === claims[i]!.label).length
    assert.ok(right / claims.length >= 0.9, `${right} of ${claims.length} are right`)
  })
})

test('token by token, the fact verification model continues as the reference does', async () => {
  const numbers: Tokenizer = {
    encode: (text) => text.split(' ').map(Number),
    decode: (tokens) => tokens.join(' '),
    chat: undefined,
    endToken: undefined,
  }
  const config = await readConfig(`${template}/model`)
  const model = await loadModel(`${template}/model`, config, {
    graph: 'model.onnx',
    threads: 1,
    device: 'cpu',
  })
  try {
    const { padding, prefix } = await probe(model)
    const engine = {
      model,
      tokenizer: numbers,
      endTokens: config.endTokens,
      maxPromptTokens: 400,
      maxPositions: 512,
      limits: { rows: 64, tokens: 4_000, padding },
      sharePrefix: prefix,
    }
    const desk = createRecorder()
    await createGenerate(engine, GenerateFunction.parse({ maxNewTokens: 6 }))(
      references.map(({ promptTokens }, id) => ({ id, input: promptTokens.join(' ') })),
      desk,
    )
    references.forEach(({ tokens }, id) => {
      const { text } = (desk.outcomes.get(id) as { value: Answer }).value
      const expected = tokens.filter((token) => !config.endTokens.has(token))
      assert.deepEqual(numbers.encode(text, false), expected)
    })
  } finally {
    await model.close()
  }
})
