import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { parse } from 'yaml'
import { generateClaims } from '../../../../scripts/generate-claims.ts'
import type { Answer } from '../../../../src/library/kinds/causal-lm/answers/answer-writer.ts'
import { readTokenizer } from '../../../../src/library/kinds/causal-lm/prompts/tokenizer.ts'
import type { LoadedContext } from '../../../../src/library/runtime/library-kind.ts'
import { loadContext } from '../../../../src/library/kinds/load-context.ts'
import { ContextFile, type GenerateFunction, LibrarySpec } from '../../../../src/protocol/contexts/context.ts'
import { acceptKind } from '../../support/kind-suite.ts'
import { valuesOf } from '../../support/recording-reporter.ts'
import { toSetup } from '../../support/setup-message.ts'

/** One answer of the reference: the same weights in another implementation, one prompt at a time. */
interface Reference {
  prompt: string
  promptTokens: number[]
  /** The answer with its end token. */
  tokens: number[]
  text: string
}

const template = fileURLToPath(new URL('../../../../templates/fact-verification', import.meta.url))
const fixture = fileURLToPath(new URL('../../../fixtures/fact-verification/greedy.jsonl', import.meta.url))
const references = readFileSync(fixture, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Reference)

/** The input from which the example's own template makes a reference's prompt. */
function toInput({ prompt }: Reference) {
  const { evidence, claim } = /Evidence: (?<evidence>.*)\nClaim: (?<claim>.*?)<\|im_end\|>/s.exec(
    prompt,
  )!.groups!
  return { evidence: evidence!, claim: claim! }
}

const file = ContextFile.parse(parse(readFileSync(`${template}/context.yaml`, 'utf8')))
const { name: _, bundles, ...rest } = file
const spec = LibrarySpec.parse(rest)
if (spec.library !== 'causal-lm') throw new Error('the example is of another kind')
const { setup, functions } = spec
const { choices: _choices, ...plain } = functions['verify'] as GenerateFunction

/** The example's context with more ways to answer, and set up with `changes`. */
function exampleSetup(changes: object = {}) {
  return toSetup(
    {
      library: 'causal-lm',
      setup: { ...setup, ...changes },
      functions: {
        ...functions,
        plain: { ...plain, maxNewTokens: 12 },
        asIs: { maxNewTokens: 12 },
        sampled: { ...plain, temperature: 1.5, seed: 11, maxNewTokens: 12 },
      },
    },
    { model: `${template}/${bundles['model']}` },
  )
}

acceptKind('causal-lm', () =>
  Promise.resolve({
    setup: exampleSetup(),
    name: 'verify',
    good: references.slice(0, 20).map((reference) => {
      const { text, promptTokens } = reference
      const tokens = { prompt: promptTokens.length, generated: 1 }
      return { input: toInput(reference), value: { text, label: text, tokens, finish: 'stop' } }
    }),
    bad: { input: { evidence: 'There is none.' }, message: /no field "claim"/ },
    broken: [
      { setup: { ...exampleSetup(), bundles: {} }, message: /bundle "model"/ },
      { setup: { ...exampleSetup(), bundles: { model: '/nowhere' } }, message: /config\.json is missing/ },
      { setup: exampleSetup({ graph: 'other.onnx' }), message: /other\.onnx is missing/ },
    ],
  }),
)

describe('the fact verification model', () => {
  let context: LoadedContext
  before(async () => {
    context = await loadContext(exampleSetup())
  })
  after(() => context.close())

  const textsOf = async (name: string, inputs: Parameters<typeof valuesOf>[2]) =>
    (await valuesOf<Answer>(context, name, inputs)).map(({ text }) => text)

  test(`answers ${references.length} prompts as the reference does, token by token`, async () => {
    assert.ok(references.length >= 200)
    const { encode, decode } = await readTokenizer(`${template}/model`)
    const answers = await valuesOf<Answer>(context, 'plain', references.map(toInput))
    references.forEach(({ prompt, promptTokens, tokens, text }, i) => {
      assert.deepEqual(encode(prompt, false), promptTokens)
      assert.equal(decode(tokens), text)
      const counts = { prompt: promptTokens.length, generated: tokens.length }
      assert.deepEqual(answers[i], { text, tokens: counts, finish: 'stop' })
    })
  })

  test('answers as the reference does in any company, freely and by choice', async () => {
    const company = fc.shuffledSubarray([...references.keys()], { minLength: 1, maxLength: 60 })
    await fc.assert(
      fc.asyncProperty(company, async (indices) => {
        const chosen = indices.map((i) => references[i]!)
        const expected = chosen.map(({ text }) => text)
        assert.deepEqual(await textsOf('plain', chosen.map(toInput)), expected)
        assert.deepEqual(await textsOf('verify', chosen.map(toInput)), expected)
      }),
      { numRuns: 10 },
    )
  })

  test('answers as the reference does to prompts that come as they are', async () => {
    const some = references.slice(0, 30)
    const texts = await textsOf(
      'asIs',
      some.map(({ prompt }) => ({ prompt })),
    )
    assert.deepEqual(
      texts,
      some.map(({ text }) => text),
    )
  })

  test('is right about at least 90 of 100 claims about things it never met', async () => {
    const claims = [...generateClaims({ split: 'held-out', count: 3000 })]
    const inputs = claims.map(({ evidence, claim }) => ({ evidence, claim }))
    const answers = await valuesOf<Answer>(context, 'verify', inputs)
    const right = answers.filter(({ label }, i) => label === claims[i]!.label).length
    assert.ok(right / claims.length >= 0.9, `${right} of ${claims.length} are right`)
  })

  test('samples the same for the same input, whatever else is asked', async () => {
    const inputs = references.slice(0, 40).map(toInput)
    const together = await textsOf('sampled', inputs)
    assert.deepEqual(await textsOf('sampled', inputs.toReversed()), together.toReversed())
    for (const i of [0, 7, 21]) assert.deepEqual(await textsOf('sampled', [inputs[i]!]), [together[i]])
    assert.notDeepEqual(
      together,
      references.slice(0, 40).map(({ text }) => text),
    )
  })
})
