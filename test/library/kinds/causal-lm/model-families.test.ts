import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Answer } from '../../../../src/library/kinds/causal-lm/answers/answer-writer.ts'
import { readTokenizer } from '../../../../src/library/kinds/causal-lm/prompts/tokenizer.ts'
import { loadContext } from '../../../../src/library/kinds/load-context.ts'
import type { DecoderShape } from '../../../support/models/decoder.ts'
import { writeEncoderFolder, writePairFolder } from '../../../support/models/encoder.ts'
import { writeModelFolder } from '../../../support/models/folder.ts'
import { openGreedy } from '../../../support/models/greedy.ts'
import { runAll, valuesOf } from '../../support/recording-reporter.ts'
import { toSetup } from '../../support/setup-message.ts'

/* The table of docs/models.md: each family as a folder of its published shape, from its files to the right tokens. */

interface Family extends Partial<DecoderShape> {
  /** What config.json says besides. */
  config: object
  /** What generation_config.json says. */
  generation?: object
  /** Name of the graph, where it is not model.onnx. */
  graph?: string
  /** Variables for the chat template. */
  variables?: Record<string, boolean>
}

const window = { window: 8 }

const families: Readonly<Record<string, Family>> = {
  SmolLM2: { vocabSize: 49_152, config: { model_type: 'llama' } },
  SmolLM3: {
    vocabSize: 128_256,
    keepLogits: 'num_logits_to_keep',
    config: { model_type: 'smollm3', eos_token_id: 128_012, no_rope_layers: [1, 0] },
    variables: { enable_thinking: false },
  },
  'Qwen2.5': {
    vocabSize: 151_936,
    config: { model_type: 'qwen2', sliding_window: null, use_sliding_window: false },
    generation: {
      do_sample: true,
      temperature: 0.7,
      top_p: 0.8,
      top_k: 20,
      repetition_penalty: 1.05,
      eos_token_id: [151_645, 151_643],
    },
  },
  Qwen3: {
    vocabSize: 151_936,
    headDim: 8,
    config: { model_type: 'qwen3', head_dim: 8 },
    generation: {
      do_sample: true,
      temperature: 0.6,
      top_k: 20,
      top_p: 0.95,
      eos_token_id: [151_645, 151_643],
    },
    variables: { enable_thinking: false },
  },
  'Gemma 3': {
    vocabSize: 262_144,
    layers: [window, window, 'full'],
    config: {
      model_type: 'gemma3_text',
      sliding_window: 8,
      sliding_window_pattern: 3,
      query_pre_attn_scalar: 16,
      eos_token_id: [1, 106],
    },
    generation: { cache_implementation: 'hybrid', do_sample: true, top_k: 64, top_p: 0.95 },
  },
  'Llama 3.2': {
    vocabSize: 128_256,
    graph: 'model_fp16.onnx',
    type: 'float16',
    config: {
      model_type: 'llama',
      eos_token_id: [128_001, 128_008, 128_009],
      rope_scaling: { factor: 32, original_max_position_embeddings: 8192, rope_type: 'llama3' },
    },
  },
  'Phi-3 and Phi-4-mini': {
    vocabSize: 200_064,
    longAfter: 24,
    config: {
      model_type: 'phi3',
      original_max_position_embeddings: 24,
      rope_scaling: { type: 'longrope', short_factor: [1], long_factor: [2] },
    },
  },
  LFM2: {
    vocabSize: 65_536,
    layers: ['conv', 'full', 'conv'],
    config: { model_type: 'lfm2', layer_types: ['conv', 'full_attention', 'conv'], num_hidden_layers: 3 },
  },
  'Granite 3': { vocabSize: 49_155, config: { model_type: 'granite', logits_scaling: 8 } },
  'Granite 4': {
    vocabSize: 100_352,
    layers: ['recurrent', 'full'],
    config: { model_type: 'granitemoehybrid', layer_types: ['mamba', 'attention'] },
  },
  OLMo2: { vocabSize: 100_352, config: { model_type: 'olmo2', eos_token_id: 100_257 } },
  TinyLlama: {
    vocabSize: 32_000,
    positions: 'mask',
    config: { model_type: 'llama' },
    generation: { max_length: 2048 },
  },
}

describe('a family of models', () => {
  let scratch: string
  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'families-'))
  })
  after(() => rm(scratch, { recursive: true }))

  const load = (folder: string, functions: object) =>
    loadContext(
      toSetup({ library: 'causal-lm', setup: { model: 'model' }, functions } as never, { model: folder }),
    )

  const questions = [
    'hi',
    'What is the capital of France?',
    'One more question, somewhat longer than the others.',
  ]

  for (const [name, { config, generation, graph = 'model.onnx', variables = {}, ...shape }] of Object.entries(
    families,
  )) {
    test(`as ${name} is published answers chats with the right tokens, and in its own way`, async () => {
      const folder = join(scratch, name)
      await writeModelFolder(folder, shape, { config, graph })
      if (generation) await writeFile(join(folder, 'generation_config.json'), JSON.stringify(generation))
      await using closing = new AsyncDisposableStack()
      const context = await load(folder, {
        greedy: {
          maxNewTokens: 5,
          temperature: 0,
          repetitionPenalty: 1,
          logprobs: 0,
          templateVariables: variables,
        },
        own: { maxNewTokens: 2, seed: 1 },
      })
      closing.defer(() => context.close())
      const { greedy, close } = await openGreedy(join(folder, 'onnx', graph))
      closing.defer(close)
      const tokenizer = await readTokenizer(folder)
      const chats = questions.map((content) => ({ messages: [{ role: 'user', content }] }))

      const answers = await valuesOf<Answer>(context, 'greedy', chats)
      for (const [i, { messages }] of chats.entries()) {
        const prompt = tokenizer.encode(tokenizer.chat!(messages), false)
        const tokens = answers[i]!.logprobs!.map(({ token }) => token)
        assert.deepEqual(tokens, (await greedy(prompt, 5)).slice(0, tokens.length), questions[i])
      }
      const own = await valuesOf<Answer>(context, 'own', chats)
      assert.deepEqual(await valuesOf<Answer>(context, 'own', chats.toReversed()), own.toReversed())
    })
  }

  test('as T5 and flan-T5 are published gives each prompt the answer it has alone', async () => {
    const folder = join(scratch, 't5')
    await writePairFolder(folder, { n_positions: 512, num_layers: 1 })
    await using closing = new AsyncDisposableStack()
    const context = await load(folder, {
      translate: { prompt: 'translate: {{ text }}', maxNewTokens: 12, logprobs: 0 },
      choose: { prompt: '{{ text }}', choices: ['yes', 'no'] },
    })
    closing.defer(() => context.close())
    const inputs = questions.map((text) => ({ text }))
    const together = await valuesOf<Answer>(context, 'translate', inputs)
    const tokens = together.map(({ logprobs }) => logprobs!.map(({ token }) => token))
    assert.ok(new Set(tokens.map(String)).size > 1, 'answers hang on the prompt')
    assert.ok(
      tokens.some((one) => new Set(one).size > 2),
      String(tokens[0]),
    )
    for (const [i, input] of inputs.entries()) {
      const [alone] = await valuesOf<Answer>(context, 'translate', [input])
      assert.deepEqual(
        alone!.logprobs!.map(({ token }) => token),
        tokens[i],
      )
      assert.equal(alone!.tokens.prompt, `translate: ${input.text}`.length)
    }
    for (const { label } of await valuesOf<Answer>(context, 'choose', inputs))
      assert.ok(label === null || ['yes', 'no'].includes(label!))
    const sampled = { ...inputs[0]!, generation: { n: 3, temperature: 2, seed: 4, maxNewTokens: 6 } }
    const [many] = await valuesOf<{ answers: Answer[] }>(context, 'translate', [sampled])
    assert.equal(many!.answers.length, 3)
  })

  test('as BART is published begins answers with the token it must', async () => {
    const folder = join(scratch, 'bart')
    await writePairFolder(folder, { model_type: 'bart', decoder_start_token_id: 2, forced_bos_token_id: 0 })
    await using closing = new AsyncDisposableStack()
    const context = await load(folder, { summarize: { maxNewTokens: 4 } })
    closing.defer(() => context.close())
    const [answer, none] = await runAll(context, 'summarize', ['a text', { messages: [] }])
    assert.ok(answer && 'value' in answer)
    assert.ok(none && 'error' in none)
  })

  test('as BERT and its kin are published gives vectors of texts', async () => {
    const folder = join(scratch, 'bert')
    await writeEncoderFolder(folder, undefined, { max_position_embeddings: 512, type_vocab_size: 2 })
    await using closing = new AsyncDisposableStack()
    const context = await load(folder, { embed: { task: 'embed' } })
    closing.defer(() => context.close())
    for (const { embedding } of await valuesOf<{ embedding: number[] }>(context, 'embed', questions)) {
      assert.equal(embedding.length, 16)
    }
  })
})
