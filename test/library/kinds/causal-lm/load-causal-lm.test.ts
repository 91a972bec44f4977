import assert from 'node:assert/strict'
import { cp, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { ContextFilesError } from '../../../../src/common/task-errors.ts'
import { loadContext } from '../../../../src/library/kinds/load-context.ts'
import { writeModelFolder } from '../../../support/models/folder.ts'
import { runAll, valuesOf } from '../../support/recording-reporter.ts'
import { toSetup } from '../../support/setup-message.ts'
import type { Answer } from '../../../../src/library/kinds/causal-lm/answers/answer-writer.ts'

const sample = fileURLToPath(new URL('../../../fixtures/models/grouped-query', import.meta.url))

/** A context of one function on a model's folder. */
const load = (folder: string, how: object = {}, setup: object = {}) => {
  const functions = { go: { maxNewTokens: 3, ...how } }
  return loadContext(
    toSetup({ library: 'causal-lm', setup: { model: 'model', ...setup }, functions }, { model: folder }),
  )
}

/** What is written to the standard error while something runs. */
async function hearErrors<T>(run: () => Promise<T>): Promise<{ value: T; written: string }> {
  const written: string[] = []
  const write = process.stderr.write.bind(process.stderr)
  process.stderr.write = (text: string) => written.push(text) > 0
  try {
    return { value: await run(), written: written.join('') }
  } finally {
    process.stderr.write = write
  }
}

describe('a model folder', () => {
  let scratch: string
  let copies = 0
  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'model-folder-'))
  })
  after(() => rm(scratch, { recursive: true }))

  const copy = async () => {
    const folder = join(scratch, `${copies++}`)
    await cp(sample, folder, { recursive: true })
    return folder
  }
  const edit = async (path: string, changes: object) => {
    const json = JSON.parse(await readFile(path, 'utf8')) as object
    await writeFile(path, JSON.stringify({ ...json, ...changes }))
  }
  const refuses = async (damage: (folder: string) => Promise<void>, message: RegExp) => {
    const folder = await copy()
    await damage(folder)
    await assert.rejects(load(folder), (error) => {
      assert.ok(error instanceof ContextFilesError, String(error))
      assert.match(error.message, message)
      assert.ok(error.message.includes(folder), `${error.message} names no file`)
      return true
    })
  }

  for (const name of ['config.json', 'tokenizer.json', 'onnx/model.onnx']) {
    test(`is refused without ${name}`, () =>
      refuses((folder) => rm(join(folder, name)), new RegExp(`${name} is missing`)))
  }

  for (const name of ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'generation_config.json']) {
    test(`is refused when ${name} is cut off`, () =>
      refuses(
        (folder) => truncate(join(folder, name), 40),
        new RegExp(`${name} is not JSON, perhaps cut off`),
      ))
  }

  for (const size of [0, 100, 100_000]) {
    test(`is refused when its graph is cut off after ${size} bytes`, () =>
      refuses(
        (folder) => truncate(join(folder, 'onnx/model.onnx'), size),
        /model\.onnx cannot be loaded; .* cut off/,
      ))
  }

  test('is refused when its parts are of different models', async () => {
    const config = (changes: object) => (folder: string) => edit(join(folder, 'config.json'), changes)
    await refuses(config({ num_hidden_layers: 2 }), /has 3 layers, but config\.json says 2/)
    await refuses(config({ vocab_size: 1000 }), /has 259 vocab_size, but config\.json says 1000/)
    await refuses(config({ head_dim: 'wide' }), /config\.json is not what it should be: head_dim/)
  })

  test('is refused when its tokenizer is of a kind nobody knows', () =>
    refuses(
      (folder) => edit(join(folder, 'tokenizer.json'), { model: { type: 'Guess' } }),
      /tokenizer\.json cannot be used/,
    ))

  test('is refused when its chat template is no template', () =>
    refuses(
      (folder) => writeFile(join(folder, 'chat_template.jinja'), '{% for'),
      /chat_template\.jinja cannot be used/,
    ))

  test('needs a chat template for messages only', async () => {
    const folder = await copy()
    await edit(join(folder, 'tokenizer_config.json'), { chat_template: undefined })
    const messages = [{ role: 'user', content: '{{ input }}' }]
    await assert.rejects(load(folder, { messages }), /no chat template/)
    await using closing = new AsyncDisposableStack()
    const context = await load(folder, { prompt: '{{ input }}' })
    closing.defer(() => context.close())
    const [answer] = await valuesOf<Answer>(context, 'go', ['hi'])
    assert.equal(answer?.tokens.generated, 3)
  })

  test('may keep its chat template in a file of its own, which counts', async () => {
    const folder = await copy()
    await writeFile(join(folder, 'chat_template.jinja'), '{{ messages[0].content }}{{ eos_token }}')
    await using closing = new AsyncDisposableStack()
    const context = await load(folder, { messages: [{ role: 'user', content: '{{ input }}' }] })
    closing.defer(() => context.close())
    const [answer] = await valuesOf<Answer>(context, 'go', ['abc'])
    assert.equal(answer?.tokens.prompt, 4, 'three bytes and the end token')
  })

  for (const vocabSize of [128_256, 151_936, 200_064, 262_144]) {
    test(`may have ${vocabSize} tokens`, async () => {
      const folder = join(scratch, `${vocabSize}`)
      await writeModelFolder(folder, { vocabSize, layers: ['full'] })
      await using closing = new AsyncDisposableStack()
      const context = await load(folder, { temperature: 1 })
      closing.defer(() => context.close())
      const answers = await valuesOf<Answer>(context, 'go', ['a', 'bc', 'def'])
      assert.deepEqual(
        answers.map(({ tokens }) => tokens),
        [1, 2, 3].map((prompt) => ({ prompt, generated: 3 })),
      )
    })
  }

  test('that cannot be batched is run all the same, and the cost is said', async () => {
    const folder = join(scratch, 'dynamic')
    await writeModelFolder(folder, { matrices: 'dynamic-int8' })
    await using closing = new AsyncDisposableStack()
    const { value: context, written } = await hearErrors(() => load(folder))
    closing.defer(() => context.close())
    assert.match(written, /model\.onnx gives right answers in some ways only: prompts go one by one/)
    assert.equal((await valuesOf<Answer>(context, 'go', ['a', 'bc'])).length, 2)
  })

  test('may do without a generation_config.json and a tokenizer_config.json', async () => {
    const folder = await copy()
    await rm(join(folder, 'generation_config.json'))
    await rm(join(folder, 'tokenizer_config.json'))
    await using closing = new AsyncDisposableStack()
    const context = await load(folder)
    closing.defer(() => context.close())
    assert.equal((await valuesOf<Answer>(context, 'go', ['abc'])).length, 1)
  })

  test('says how long a prompt may be', async () => {
    await using closing = new AsyncDisposableStack()
    const context = await load(sample)
    const strict = await load(sample, {}, { maxPromptTokens: 10 })
    closing.defer(() => context.close())
    closing.defer(() => strict.close())
    const [fits, tooLong] = await runAll(context, 'go', ['x'.repeat(511), 'x'.repeat(512)])
    assert.ok(fits && 'value' in fits)
    assert.match(
      String(tooLong && 'error' in tooLong && tooLong.error),
      /512 tokens, of which 511 are allowed/,
    )
    const [limited] = await runAll(strict, 'go', ['x'.repeat(11)])
    assert.match(String(limited && 'error' in limited && limited.error), /11 tokens, of which 10 are allowed/)
  })

  test('runs on the CPU, and says so, unless the accelerator of the slot is of use', async () => {
    await using closing = new AsyncDisposableStack()
    const setup = toSetup(
      { library: 'causal-lm', setup: { model: 'model' }, functions: { go: {} } },
      { model: sample },
    )
    const { value: context, written } = await hearErrors(() =>
      loadContext({ ...setup, device: 'Imaginary X100' }),
    )
    closing.defer(() => context.close())
    if (context.level === 'device') assert.equal(written, '')
    else assert.match(written, /Imaginary X100 cannot be used, the model runs on the CPU: webgpu: .*cuda: /s)
    assert.equal((await valuesOf<Answer>(context, 'go', ['abc'])).length, 1)
  })
})
