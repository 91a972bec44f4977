import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { batches } from '../../../../src/library/kinds/causal-lm/encoders/encode.ts'
import { normalize, pool, softmax } from '../../../../src/library/kinds/causal-lm/encoders/pooling.ts'
import { readTokenizer } from '../../../../src/library/kinds/causal-lm/prompts/tokenizer.ts'
import { loadContext } from '../../../../src/library/kinds/load-context.ts'
import { writeEncoderFolder } from '../../../support/models/encoder.ts'
import { runAll, valuesOf } from '../../support/recording-reporter.ts'
import { toSetup } from '../../support/setup-message.ts'

/** Vectors of the tokens of one text, computed alone, without padding. */
async function vectorsOf(graph: string, tokens: readonly number[]): Promise<Float32Array[]> {
  const session = await InferenceSession.create(graph, { intraOpNumThreads: 1, logSeverityLevel: 3 })
  const integers = (values: readonly number[]) =>
    new Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length])
  const outputs = await session.run({
    input_ids: integers(tokens),
    attention_mask: integers(tokens.map(() => 1)),
    token_type_ids: integers(tokens.map(() => 0)),
  })
  const { data, dims } = outputs['last_hidden_state'] as Tensor
  await session.release()
  const size = dims[2] as number
  return tokens.map((_, i) => (data as Float32Array).slice(i * size, (i + 1) * size))
}

describe('an encoder', () => {
  let scratch: string
  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'encoders-'))
    await writeEncoderFolder(join(scratch, 'vectors'))
    const id2label = { 0: 'NEGATIVE', 1: 'NEUTRAL', 2: 'POSITIVE' }
    await writeEncoderFolder(join(scratch, 'classes'), 3, { id2label })
    await writeEncoderFolder(join(scratch, 'score'), 1, { max_position_embeddings: 40 })
  })
  after(() => rm(scratch, { recursive: true }))

  const load = (name: string, functions: object, setup: object = {}) =>
    loadContext(
      toSetup({ library: 'causal-lm', setup: { model: 'model', ...setup }, functions } as never, {
        model: join(scratch, name),
      }),
    )
  const texts = [
    'a',
    'some words',
    'a text that is quite a bit longer than all the others',
    'b',
    'words, some',
  ]

  test('gives each text the vector it has alone, whatever it shares a batch with', async () => {
    await using closing = new AsyncDisposableStack()
    const context = await load('vectors', {
      mean: { task: 'embed' },
      last: { task: 'embed', pooling: 'last', normalize: false, dimensions: 4 },
    })
    closing.defer(() => context.close())
    const together = await valuesOf<{ embedding: number[] }>(context, 'mean', texts)
    const shortened = await valuesOf<{ embedding: number[] }>(context, 'last', texts)
    for (const [i, text] of texts.entries()) {
      const [alone] = await valuesOf<{ embedding: number[] }>(context, 'mean', [{ text }])
      assertNear(alone!.embedding, together[i]!.embedding)
      assert.ok(Math.abs(Math.hypot(...alone!.embedding) - 1) < 1e-5)
      assert.equal(shortened[i]!.embedding.length, 4)
    }
  })

  test('pools vectors as asked, or as 1_Pooling/config.json says', async () => {
    await using closing = new AsyncDisposableStack()
    const folder = join(scratch, 'vectors', '1_Pooling')
    await mkdir(folder)
    await writeFile(join(folder, 'config.json'), JSON.stringify({ pooling_mode_cls_token: true }))
    const context = await load('vectors', {
      told: { task: 'embed', normalize: false },
      cls: { task: 'embed', pooling: 'cls', normalize: false },
      mean: { task: 'embed', pooling: 'mean', normalize: false },
    })
    closing.defer(() => context.close())
    const one = async (name: string) =>
      (await valuesOf<{ embedding: number[] }>(context, name, ['some words']))[0]!
    assert.deepEqual(await one('told'), await one('cls'))
    assert.notDeepEqual(await one('told'), await one('mean'))
    await rm(folder, { recursive: true })
  })

  test('tells classes by their names, with a score for each', async () => {
    await using closing = new AsyncDisposableStack()
    const context = await load('classes', {
      classify: { task: 'classify' },
      many: { task: 'classify', activation: 'sigmoid', text: 'about {{ topic }}' },
    })
    closing.defer(() => context.close())
    type Class = { label: string; score: number; scores: Record<string, number> }
    for (const { label, score, scores } of await valuesOf<Class>(context, 'classify', texts)) {
      assert.deepEqual(Object.keys(scores), ['NEGATIVE', 'NEUTRAL', 'POSITIVE'])
      assert.equal(score, Math.max(...Object.values(scores)))
      assert.equal(scores[label], score)
      assert.ok(Math.abs(Object.values(scores).reduce((sum, one) => sum + one, 0) - 1) < 1e-5)
    }
    const [many] = await valuesOf<Class>(context, 'many', [{ topic: 'x' }])
    assert.ok(Object.values(many!.scores).every((one) => one > 0 && one < 1))
  })

  test('scores pairs, in their order', async () => {
    await using closing = new AsyncDisposableStack()
    const context = await load('score', {
      score: { task: 'score' },
      raw: { task: 'score', activation: 'none' },
    })
    closing.defer(() => context.close())
    const pairs = [
      { query: 'what is it', document: 'it is this' },
      { query: 'it is this', document: 'what is it' },
      { text: 'what is it', pair: 'it is this' },
    ]
    const [first, turned, again] = await valuesOf<{ score: number }>(context, 'score', pairs)
    const [raw] = await valuesOf<{ score: number }>(context, 'raw', pairs)
    assert.ok(Math.abs(first!.score - again!.score) < 1e-6)
    assert.notEqual(first!.score, turned!.score)
    assert.ok(Math.abs(first!.score - 1 / (1 + Math.exp(-raw!.score))) < 1e-6)
  })

  test('refuses an input that is no text, or too long a one unless it may be cut', async () => {
    await using closing = new AsyncDisposableStack()
    const context = await load('score', { score: { task: 'score' }, cut: { task: 'score', truncate: true } })
    closing.defer(() => context.close())
    const long = { query: 'q', document: 'x'.repeat(60) }
    const [none, tooLong, fits] = await runAll(context, 'score', [5, long, { query: 'q', document: 'd' }])
    assert.match(errorOf(none), /no text: expected \{"query"/)
    assert.match(errorOf(tooLong), /61 tokens, of which 40 are allowed: shorten it, or set truncate/)
    assert.ok(fits && 'value' in fits)
    const [cut] = await runAll(context, 'cut', [long])
    assert.ok(cut && 'value' in cut)
  })

  test('is not asked for what it cannot give', async () => {
    await assert.rejects(
      load('classes', { embed: { task: 'embed' } }),
      /gives logits, but embed needs .*export it for feature extraction/,
    )
    await assert.rejects(
      load('vectors', { classify: { task: 'classify' } }),
      /export it for text classification/,
    )
    await assert.rejects(load('vectors', { a: { task: 'embed' }, b: {} }), /make two contexts/)
    await assert.rejects(
      load('vectors', { b: {} }),
      (error) =>
        error instanceof Error &&
        /onnx\/model\.onnx/.test(error.message) &&
        /task: embed/.test(error.message),
    )
  })

  test('computes what the graph gives for one text alone', async () => {
    const folder = join(scratch, 'vectors')
    await using closing = new AsyncDisposableStack()
    const context = await load('vectors', { mean: { task: 'embed', pooling: 'mean' } })
    closing.defer(() => context.close())
    const tokens = (await readTokenizer(folder)).encode('some words', true)
    const vectors = await vectorsOf(join(folder, 'onnx/model.onnx'), tokens)
    const [value] = await valuesOf<{ embedding: number[] }>(context, 'mean', ['some words'])
    assertNear(value!.embedding, Array.from(normalize(pool(vectors, 'mean'))))
  })
})

function errorOf(outcome: unknown): string {
  return String((outcome as { error?: unknown }).error)
}

function assertNear(actual: readonly number[], expected: readonly number[]): void {
  assert.equal(actual.length, expected.length)
  actual.forEach((value, i) =>
    assert.ok(Math.abs(value - expected[i]!) < 1e-4, `${value} is not ${expected[i]}`),
  )
}

describe('texts', () => {
  test('run with others of similar length, each once, within the limits', () => {
    const sizes = [5, 100, 3, 7000, 6000, 4, 90]
    const all = sizes.map((length) => ({ input: { tokens: Array<number>(length).fill(0) } }))
    const lengths = [...batches(all, 3)].map((batch) => batch.map(({ input }) => input.tokens.length))
    assert.deepEqual(lengths, [[3, 4, 5], [90, 100], [6000], [7000]])
  })
})

describe('pooling', () => {
  const rows = [Float32Array.of(1, 4), Float32Array.of(3, 0)]
  test('makes one vector of several, and leaves them as they are', () => {
    assert.deepEqual(
      ['mean', 'cls', 'last', 'max'].map((how) => Array.from(pool(rows, how as 'mean'))),
      [
        [2, 2],
        [1, 4],
        [3, 0],
        [3, 4],
      ],
    )
    assert.deepEqual(Array.from(rows[0]!), [1, 4])
    assert.deepEqual(Array.from(normalize(Float32Array.of(0, 0))), [0, 0])
    assert.deepEqual(softmax([1000, 1000]), [0.5, 0.5])
  })
})
