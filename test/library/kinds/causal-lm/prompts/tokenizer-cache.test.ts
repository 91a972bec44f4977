import { Tokenizer as HfTokenizer } from '@huggingface/tokenizers'
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import {
  type BpeDefinition,
  toBpeTables,
  useBpeTables,
} from '../../../../../src/library/kinds/causal-lm/prompts/bpe-tables.ts'
import { readTokenizer } from '../../../../../src/library/kinds/causal-lm/prompts/tokenizer.ts'

const example = fileURLToPath(
  new URL('../../../../../templates/fact-verification/model/tokenizer.json', import.meta.url),
)

describe('the tables of a BPE tokenizer', () => {
  /** A tokenizer as its library makes it, and one that was given its tables. */
  async function both() {
    const definition = JSON.parse(await readFile(example, 'utf8')) as BpeDefinition & { model: object }
    const model = { ...definition.model, vocab: {}, merges: [] }
    const quick = new HfTokenizer({ ...definition, model }, {})
    const tables = toBpeTables(definition)
    assert.ok(tables)
    useBpeTables(quick, tables)
    return { own: new HfTokenizer(definition, {}), quick, definition }
  }

  test('write and read any text as the library of the tokenizer does', async () => {
    const { own, quick, definition } = await both()
    const words = Object.keys((definition.model as { vocab: object }).vocab)
    const word = fc.oneof(
      fc.constantFrom(...words),
      fc.string({ unit: 'binary' }),
      fc.constantFrom(' ', '\n'),
    )
    fc.assert(
      fc.property(fc.array(word, { maxLength: 30 }), (parts) => {
        const text = parts.join('')
        const { ids } = own.encode(text)
        assert.deepEqual(quick.encode(text).ids, ids)
        if (ids.length > 0) assert.equal(quick.decode(ids as number[]), own.decode(ids as number[]))
      }),
    )
    for (let id = 0; id < words.length + 3; id++) assert.equal(quick.id_to_token(id), own.id_to_token(id))
  })

  test('leave a token for the unknown that is only added as the library has it', async () => {
    const { definition } = await both()
    const added = { content: '<unk>', id: 9, special: true, normalized: false }
    const model = {
      type: 'BPE',
      vocab: { a: 0, b: 1, ab: 2 },
      merges: ['a b'],
      unk_token: '<unk>',
      fuse_unk: true,
    }
    const odd = { ...definition, model, added_tokens: [added], pre_tokenizer: null, post_processor: null }
    const quick = new HfTokenizer({ ...odd, model: { ...model, vocab: {}, merges: [] } }, {})
    useBpeTables(quick, toBpeTables(odd)!)
    const { ids } = new HfTokenizer(odd, {}).encode('abxyzab')
    assert.deepEqual(quick.encode('abxyzab').ids, ids)
  })

  test('are left to the library where a definition is not as it should be', async () => {
    const { definition } = await both()
    const model = (change: object) =>
      toBpeTables({ ...definition, model: { ...definition.model, ...change } })
    assert.ok(model({}))
    assert.equal(model({ vocab: { a: 0, b: 0 }, merges: [] }), undefined, 'two tokens of one id')
    assert.equal(model({ vocab: { a: 0, b: 2 ** 40 }, merges: [] }), undefined, 'an id beyond any')
    assert.equal(model({ vocab: { a: 0.5 }, merges: [] }), undefined)
    assert.equal(model({ vocab: { a: 3 }, merges: ['a b'] }), undefined, 'a merge of what is no token')
    assert.equal(model({ vocab: { a: 3 }, merges: [7] }), undefined)
    assert.equal(model({ vocab: [['a', -1]], merges: [] }), undefined)
    for (const added_tokens of [[null], [7], [{}]])
      assert.doesNotThrow(() => toBpeTables({ ...definition, added_tokens }))
    assert.equal(toBpeTables({ ...definition, added_tokens: [{ content: 'a', id: 7777 }] }), undefined)
  })
})

describe('what a large tokenizer was parsed into', () => {
  let folder: string
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tokenizer-'))
    await writeLarge('a')
  })
  after(() => rm(folder, { recursive: true }))

  /** A tokenizer of 150,000 words of one letter each, followed by all of their numbers. */
  async function writeLarge(letter: string): Promise<void> {
    const definition = JSON.parse(await readFile(example, 'utf8')) as { model: { vocab: object } }
    const { vocab } = definition.model as { vocab: Record<string, number> }
    const from = Object.keys(vocab).length + 10
    for (let i = 0; i < 150_000; i++) vocab[`${letter}${i}`] = from + i
    await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(definition))
    await writeFile(join(folder, 'tokenizer_config.json'), '{}')
  }
  const kept = async () => (await readdir(folder)).filter((name) => name.startsWith('.'))

  test('lies beside it, for the next one who loads it, whole or not at all', async () => {
    const text = 'The Zürich lake is 支 deep.'
    const first = (await readTokenizer(folder)).encode(text, true)
    const [name, ...others] = await kept()
    assert.ok(name)
    assert.deepEqual(others, [])
    const path = join(folder, name)
    const parsed = await readFile(path)
    assert.deepEqual((await readTokenizer(folder)).encode(text, true), first)

    // It is what is read: a vocabulary that was changed there shows.
    const at = parsed.indexOf('"a149999"')
    assert.ok(at > 0)
    const changed = Buffer.from(parsed)
    changed.write('"b149999"', at)
    const unnoticed = Buffer.from(changed)
    createHash('sha256').update(changed.subarray(32)).digest().copy(unnoticed)
    await writeFile(path, unnoticed)
    const last = (tokenizer: Awaited<ReturnType<typeof readTokenizer>>) =>
      tokenizer.candidates(['b149999']).map((token) => tokenizer.spellings?.pieces(token))
    assert.ok(last(await readTokenizer(folder)).includes('b149999'))

    const zeroed = Buffer.alloc(parsed.length)
    for (const broken of [parsed.subarray(0, -1), parsed.subarray(0, 5), changed, zeroed]) {
      await writeFile(path, broken)
      assert.deepEqual((await readTokenizer(folder)).encode(text, true), first)
      assert.deepEqual(await readFile(path), parsed, 'it is written anew')
    }
  })

  test('is of no use to another tokenizer', async () => {
    await writeLarge('c')
    const tokenizer = await readTokenizer(folder)
    assert.ok(
      tokenizer.candidates(['c149999']).some((token) => tokenizer.spellings?.pieces(token) === 'c149999'),
    )
    assert.equal((await kept()).length, 2)
  })
})
