import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { describeContext } from '../../../src/library/model-folder/describe-context.ts'
import { recogniseModel } from '../../../src/library/model-folder/recognise-model.ts'
import { LibrarySpec } from '../../../src/protocol/contexts/context.ts'
import { writeDecoder } from '../../support/models/decoder.ts'
import { writeModelFolder } from '../../support/models/folder.ts'

const root = await mkdtemp(join(tmpdir(), 'gleaner-models-'))
after(() => rm(root, { recursive: true }))
let count = 0

/** Writes a model folder; objects become JSON. */
async function write(files: Record<string, string | Uint8Array | object>): Promise<string> {
  const folder = join(root, `model-${++count}`)
  await mkdir(folder)
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    const isRaw = typeof content === 'string' || content instanceof Uint8Array
    await writeFile(join(folder, name), isRaw ? content : JSON.stringify(content))
  }
  return folder
}

const llama = { architectures: ['LlamaForCausalLM'], model_type: 'llama' }
const chat = { chat_template: '{{ messages }}' }
const bert = { architectures: ['BertModel'], model_type: 'bert' }
const pooled = { 'config.json': bert, 'tokenizer.json': {}, 'onnx/model.onnx': 'x' }

describe('a folder with an ONNX export', () => {
  test('is a chat model of the built-in engine if it has a decoder and a chat template', async () => {
    const path = fileURLToPath(new URL('../../../templates/fact-verification/model', import.meta.url))
    const found = await recogniseModel(path)
    assert.deepEqual([found.runner, found.task, found.hasChat], ['causal-lm', 'generate', true])
    assert.match(
      found.reasons.join(' '),
      /ONNX.*llama.*onnx\/model\.onnx \(the only graph there\).*chat template/s,
    )
    const context = describeContext(found, { name: 'facts', bundle: path, system: 'Be brief.' })
    assert.deepEqual(Object.keys(context.functions), ['answer', 'api'])
    assert.match(JSON.stringify(context.functions), /Be brief.*\{\{ prompt \}\}/)
  })

  test('generates, too, if its config says nothing but its graph gives a state', async () => {
    const folder = join(root, 'stateful')
    await writeModelFolder(folder)
    const found = await recogniseModel(folder)
    assert.deepEqual(
      [found.task, found.reasons[0]?.match(/since .*/)?.[0]],
      ['generate', 'since its graph goes on from a state.'],
    )
  })

  test('has the graph that the engine would take on a processor, or the one that was asked for', async () => {
    const graph = writeDecoder()
    const folder = await write({
      'config.json': llama,
      'tokenizer.json': {},
      'onnx/model_fp16.onnx': graph,
      'onnx/model_q4.onnx': graph,
    })
    const found = await recogniseModel(folder)
    assert.equal(found.file, undefined)
    assert.match(found.reasons[1]!, /Of 2 graphs, a processor would take onnx\/model_q4\.onnx/)
    assert.equal((await recogniseModel(folder, 'model_fp16.onnx')).file, 'model_fp16.onnx')
    await assert.rejects(
      recogniseModel(folder, 'model_q8.onnx'),
      /onnx\/model_fp16\.onnx, onnx\/model_q4\.onnx/,
    )
  })

  test('embeds, classifies or scores if its config or its neighbours say so', async () => {
    const classes = { ...bert, architectures: ['BertForSequenceClassification'] }
    const tasks = [
      pooled,
      { ...pooled, 'config.json': {}, 'modules.json': [] },
      { ...pooled, 'config.json': { ...classes, id2label: { 0: 'NO', 1: 'YES' } } },
      { ...pooled, 'config.json': { ...classes, id2label: { 0: 'LABEL_0' } } },
    ].map(async (files) => (await recogniseModel(await write(files))).task)
    assert.deepEqual(await Promise.all(tasks), ['embed', 'embed', 'classify', 'score'])
  })

  test('comes with a warning of weights that would travel for nothing', async () => {
    const { warnings } = await recogniseModel(
      await write({ ...pooled, 'model.safetensors': new Uint8Array(2_000_000) }),
    )
    assert.match(warnings[0]!, /model\.safetensors \(2 MB\) is not needed/)
  })
})

describe('a folder with other weights', () => {
  test('is served by vLLM if they are safetensors', async () => {
    const found = await recogniseModel(
      await write({ 'config.json': llama, 'model.safetensors': 'x', 'tokenizer_config.json': chat }),
    )
    assert.deepEqual([found.runner, found.task, found.hasChat], ['vllm', 'generate', true])
    const { setup, functions } = describeContext(found, { name: 'chat', bundle: './m' })
    assert.match(
      JSON.stringify(setup),
      /"vllm","serve","\{\{ bundles\.model \}\}","--served-model-name","chat"/,
    )
    assert.match(JSON.stringify(functions['answer']), /v1\/chat\/completions/)
  })

  test('is served from the environment that is named, on all GPUs of a slot', async () => {
    const found = await recogniseModel(await write({ 'config.json': llama, 'model.safetensors': 'x' }))
    const options = { name: 'chat', bundle: './m', environment: './vllm.tar.gz' }
    const { setup, bundles, library, functions } = describeContext(found, options)
    const { command } = setup as { command: string[] }
    assert.equal(command[0], '{{ bundles.env }}/bin/vllm')
    assert.equal(command[command.indexOf('--tensor-parallel-size') + 1], '{{ gpus }}')
    assert.deepEqual(bundles, { model: './m', env: './vllm.tar.gz' })
    assert.equal(LibrarySpec.parse({ library, setup, functions }).library, 'server')
  })

  test('is served by llama-server if there is one GGUF file, or the one that was named, in parts too', async () => {
    const gguf = Buffer.concat([Buffer.alloc(1 << 20), Buffer.from('tokenizer.chat_template')])
    const folder = await write({ 'a-Q4.gguf': gguf, 'mmproj-a.gguf': 'x' })
    const found = await recogniseModel(folder)
    assert.deepEqual([found.runner, found.file, found.hasChat], ['llama-server', 'a-Q4.gguf', true])
    await writeFile(join(folder, 'a-Q8-00001-of-00002.gguf'), 'x')
    await assert.rejects(
      recogniseModel(folder),
      /say which GGUF file to take; there are a-Q4\.gguf, a-Q8-00001/,
    )
    await assert.rejects(
      recogniseModel(folder, 'a-Q8-00001-of-00002.gguf'),
      /00002-of-00002\.gguf of its parts are missing/,
    )
    const named = await recogniseModel(join(folder, 'a-Q4.gguf'))
    assert.equal(named.file, 'a-Q4.gguf')
    assert.equal(named.warnings.length, 1)
  })
})

describe('every context that is made for a model', () => {
  test('is one that can be registered', async () => {
    const folders = [
      { 'config.json': llama, 'tokenizer.json': {}, 'onnx/model.onnx': writeDecoder() },
      pooled,
      { 'config.json': llama, 'model.safetensors': 'x' },
      { 'config.json': llama, 'model.safetensors': 'x', 'tokenizer_config.json': chat },
      { 'config.json': bert, 'model.safetensors': 'x' },
      { 'model.gguf': 'tokenizer.chat_template' },
    ]
    for (const files of folders) {
      const {
        name: _,
        bundles: __,
        ...spec
      } = describeContext(await recogniseModel(await write(files)), {
        name: 'any',
        bundle: './m',
      })
      assert.deepEqual(LibrarySpec.parse(spec).library, spec.library)
    }
  })
})

describe('a folder that holds no model is refused with what is in it', () => {
  const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n'
  const index = {
    weight_map: { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' },
  }
  const cases: [string, Record<string, string | object>, RegExp][] = [
    ['nothing', {}, /no weights.*It has: nothing/],
    ['no weights', { 'config.json': llama, 'a/b': '' }, /no weights.*It has: a\/, config\.json/],
    ['weights of PyTorch', { 'pytorch_model.bin': 'x' }, /export it to ONNX.*It has: pytorch_model\.bin/],
    ['notes of git', { 'config.json': llama, 'model.safetensors': pointer }, /git lfs pull/],
    ['graphs without a tokenizer', { 'config.json': llama, 'model.onnx': 'x' }, /no tokenizer\.json/],
    [
      'an adapter',
      { 'adapter_config.json': {}, 'adapter_model.safetensors': 'x' },
      /an adapter, not a model/,
    ],
    [
      'half a download',
      {
        'config.json': llama,
        'model.safetensors.index.json': index,
        'model-00001-of-00002.safetensors': 'x',
      },
      /names model-00002-of-00002\.safetensors, which are missing/,
    ],
    [
      'a config that is cut off',
      { 'config.json': '{"a', 'model.safetensors': 'x' },
      /config\.json is not JSON/,
    ],
  ]
  for (const [what, files, message] of cases) {
    test(`such as one with ${what}`, async () => {
      await assert.rejects(recogniseModel(await write(files)), message)
    })
  }
})
