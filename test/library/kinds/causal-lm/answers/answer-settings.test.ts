import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  GenerationFile,
  toGenerationSettings,
} from '../../../../../src/library/kinds/causal-lm/files/generation-config.ts'
import { createScoreChanger } from '../../../../../src/library/kinds/causal-lm/answers/logits-processor.ts'
import {
  mergeSettings,
  refuseLooseSettings,
  takeSettings,
} from '../../../../../src/library/kinds/causal-lm/answers/answer-settings.ts'
import { InputError } from '../../../../../src/common/task-errors.ts'
import { GenerateFunction } from '../../../../../src/protocol/contexts/context.ts'
import type { GenerationSettings } from '../../../../../src/protocol/contexts/generation-settings.ts'

const read = (file: object) => toGenerationSettings(GenerationFile.parse(file))

describe('a generation_config.json', () => {
  test('has the model sample only where it says so', () => {
    assert.deepEqual(read({ temperature: 0.7, top_p: 0.8 }).settings, {})
    assert.deepEqual(read({ do_sample: false, temperature: 0.7 }).settings, {})
    assert.deepEqual(read({ do_sample: true, temperature: 0.7, top_p: 0.8, top_k: 20 }).settings, {
      temperature: 0.7,
      topK: 20,
      topP: 0.8,
    })
  })

  test('draws from fifty tokens where it does not say from how many, and from all if it says none', () => {
    assert.deepEqual(read({ do_sample: true }).settings, { temperature: 1, topK: 50 })
    assert.deepEqual(read({ do_sample: true, top_k: 0, top_p: 1, min_p: 0.05 }).settings, {
      temperature: 1,
      topP: 1,
      minP: 0.05,
    })
  })

  test('may have penalties, limits and tokens that are never said', () => {
    const file = { repetition_penalty: 1.1, max_new_tokens: 2048, min_new_tokens: 2, suppress_tokens: [7] }
    assert.deepEqual(read(file).settings, {
      repetitionPenalty: 1.1,
      maxNewTokens: 2048,
      minNewTokens: 2,
      logitBias: { 7: -1000 },
    })
  })

  test('names what it asks for that is not supported, unless that changes nothing', () => {
    const file = {
      num_beams: 4,
      typical_p: 1,
      no_repeat_ngram_size: 3,
      guidance_scale: null,
      pad_token_id: 0,
    }
    assert.deepEqual(read(file).unsupported, ['num_beams', 'no_repeat_ngram_size'])
  })
})

describe('settings', () => {
  test('of a request win over those of the function, and these over those of the model', () => {
    const model = { temperature: 0.7, topP: 0.8, topK: 20 }
    const merged = mergeSettings(model, { topK: 5, seed: 1 }, { temperature: 0, seed: undefined })
    const { temperature, topP, topK, seed, maxNewTokens } = merged
    assert.deepEqual([temperature, topP, topK, seed, maxNewTokens], [0, 0.8, 5, 1, 128])
  })

  test('add up where they are variables of the chat template', () => {
    const merged = mergeSettings({ templateVariables: { a: 1, b: 1 } }, {}, { templateVariables: { b: 2 } })
    assert.deepEqual(merged.templateVariables, { a: 1, b: 2 })
  })

  test('of a request are taken out of its input', () => {
    assert.deepEqual(takeSettings({ claim: 'x', generation: { n: 2 } }), {
      settings: { n: 2 },
      rest: { claim: 'x' },
    })
    for (const input of ['text', null, [1], { claim: 'x' }])
      assert.deepEqual(takeSettings(input), { settings: {}, rest: input })
  })

  test('that are not known are errors, in a context and in a request', () => {
    assert.match(GenerateFunction.safeParse({ topk: 1 }).error?.message ?? '', /topk/)
    const refuses = (generation: object, message: RegExp) =>
      assert.throws(
        () => takeSettings({ generation } as never),
        (error) => error instanceof InputError && message.test(error.message),
      )
    refuses({ topk: 1 }, /"generation" of the input: .*topk/)
    refuses({ top_k: 1 }, /"top_k" is called "topK" here/)
    refuses({ temperature: -1 }, /temperature/)
    refuses({ logitBias: { word: 1 } }, /logitBias/)
  })

  test('beside a prompt are an error, as they would be lost there', () => {
    assert.throws(
      () => refuseLooseSettings({ prompt: '', max_tokens: 5 }),
      /give \{"generation": \{"maxNewTokens"/,
    )
    assert.throws(() => refuseLooseSettings({ prompt: '', temperature: 1 }), /"temperature" beside a prompt/)
    refuseLooseSettings({ prompt: '', id: 1, label: 'x' })
  })
})

describe('scores', () => {
  const end = new Set([0])
  const changed = (settings: GenerationSettings, prompt: number[], said: number[], logits: number[]) => {
    const changer = createScoreChanger(mergeSettings(settings), prompt, end)
    for (const token of said) changer.note(token)
    return Array.from(changer.change(logits))
  }

  test('stay as they are, and are not copied, where nothing is to change', () => {
    const logits = [1, 2, 3]
    assert.equal(createScoreChanger(mergeSettings(), [1], end).change(logits), logits)
    assert.deepEqual(logits, [1, 2, 3])
  })

  test('of tokens in prompt and answer are divided by the penalty of repetition', () => {
    assert.deepEqual(changed({ repetitionPenalty: 2 }, [1], [2], [4, 4, -4, 4]), [4, 2, -8, 4])
  })

  test('of tokens in the answer are lowered once for presence, and each time for frequency', () => {
    assert.deepEqual(
      changed({ presencePenalty: 1, frequencyPenalty: 0.5 }, [1], [2, 2, 3], [4, 4, 4, 4]),
      [4, 4, 2, 2.5],
    )
  })

  test('are raised by a bias, also of tokens that the model does not have', () => {
    assert.deepEqual(changed({ logitBias: { 1: 2, 99: 5 } }, [], [], [0, 1]), [0, 3])
  })

  test('let an answer end only once it has as many tokens as it must', () => {
    assert.deepEqual(changed({ minNewTokens: 2 }, [], [1], [3, 1]), [-Infinity, 1])
    assert.deepEqual(changed({ minNewTokens: 2 }, [], [1, 1], [3, 1]), [3, 1])
  })
})
