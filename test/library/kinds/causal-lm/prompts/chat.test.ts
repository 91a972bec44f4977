import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type ChatOptions, readChat } from '../../../../../src/library/kinds/causal-lm/prompts/chat.ts'
import { strftime } from '../../../../../src/library/kinds/causal-lm/prompts/strftime.ts'
import { compileTemplate } from '../../../../../src/library/kinds/causal-lm/prompts/template.ts'
import { ContextFilesError, InputError } from '../../../../../src/common/task-errors.ts'

const messages = [{ role: 'user', content: 'hi' }]

describe('a chat template', () => {
  let scratch: string
  let folders = 0
  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'chat-'))
  })
  after(() => rm(scratch, { recursive: true }))

  /** A folder with the given files. */
  const folderOf = async (files: Record<string, string>) => {
    const folder = join(scratch, `${folders++}`)
    await mkdir(join(folder, 'additional_chat_templates'), { recursive: true })
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text)
    return folder
  }
  const render = async (source: string, options?: ChatOptions) => {
    const chat = await readChat(await folderOf({}), source, { eos_token: '</s>' })
    return chat!(messages, options)
  }

  test('gets messages, special tokens, and null for tools and documents that there are not', async () => {
    assert.equal(await render('{{ messages[0].content }}{{ eos_token }}'), 'hi</s>')
    assert.equal(await render('{% if tools is none %}no{% endif %}{{ documents }}'), 'noNone')
    assert.equal(
      await render('{% for t in tools %}{{ t.name }}{% endfor %}', { tools: [{ name: 'add' }] }),
      'add',
    )
  })

  test('gets the variables of the request', async () => {
    const source = '{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}'
    assert.equal(await render(source), '')
    assert.equal(await render(source, { variables: { enable_thinking: false } }), '<think></think>')
    assert.equal(
      await render('{{ add_generation_prompt }}', { variables: { add_generation_prompt: false } }),
      'False',
    )
  })

  test('writes values as Jinja does in Python', async () => {
    assert.equal(
      await render('{{ true }} {{ none }} {{ [1, "a", true] }} {{ {"a": "it\'s"} }}'),
      `True None [1, 'a', True] {'a': "it's"}`,
    )
    assert.equal(await render('{{ "x" ~ true ~ 1 }} {{ false | string }}{{ missing }}'), 'xTrue1 False')
    assert.equal(await render('{% set x = true %}{% if x %}{{ x }}{% endif %}'), 'True')
    assert.equal(await render('{% for i in range(3) %}{{ i }}{% endfor %}{{ 1.0 }}'), '0121.0')
    assert.equal(await render('{{ {"a": [true, none]} | tojson }}'), '{"a": [true, null]}')
    assert.equal(await render('{% macro say(x) %}{{ x }}!{% endmacro %}{{ say(none) }}'), 'None!')
  })

  test('of a context writes them so, too', () => {
    assert.equal(
      compileTemplate('{{ flag }} {{ list }}')({ flag: true, list: ['a', null] }),
      "True ['a', None]",
    )
  })

  test('knows the time', async () => {
    assert.match(await render('{{ strftime_now("%d %b %Y") }}'), /^\d\d [A-Z][a-z]{2} \d{4}$/)
    const date = new Date(2026, 10, 5, 15, 4, 9)
    assert.equal(
      strftime('%A %a %d %-d %B %j %H:%M:%S %I%p %y %% %Q', date),
      'Thursday Thu 05 5 November 309 15:04:09 03PM 26 % %Q',
    )
  })

  test('may refuse messages, which is an error of their task', async () => {
    await assert.rejects(
      render('{{ raise_exception("no system message") }}'),
      (error) =>
        error instanceof InputError && /refuses these messages: no system message/.test(error.message),
    )
  })

  test('is chosen by name, or by whether there are tools', async () => {
    const named = [
      { name: 'default', template: 'D' },
      { name: 'tool_use', template: 'T' },
      { name: 'rag', template: 'R' },
    ]
    const chat = (await readChat(await folderOf({}), named, {}))!
    assert.equal(chat(messages), 'D')
    assert.equal(chat(messages, { tools: [{}] }), 'T')
    assert.equal(chat(messages, { template: 'rag', tools: [{}] }), 'R')
    assert.throws(() => chat(messages, { template: 'other' }), /it has default, tool_use, rag/)
  })

  test('in a file of its own counts before chat_template.json, and this before tokenizer_config.json', async () => {
    const files = {
      'chat_template.jinja': 'file',
      'chat_template.json': JSON.stringify({ chat_template: 'json' }),
      'additional_chat_templates/tool_use.jinja': 'tools',
    }
    const all = await readChat(await folderOf(files), 'config', {})
    assert.equal(all!(messages), 'file')
    assert.equal(all!(messages, { tools: [] }), 'tools')
    const { 'chat_template.jinja': _, ...others } = files
    assert.equal((await readChat(await folderOf(others), 'config', {}))!(messages), 'json')
    assert.equal((await readChat(await folderOf({}), 'config', {}))!(messages), 'config')
    assert.equal(await readChat(await folderOf({}), null, {}), undefined)
  })

  test('that is none is refused, with the name of its file', async () => {
    const folder = await folderOf({ 'chat_template.json': JSON.stringify({ chat_template: '{% for' }) })
    await assert.rejects(
      readChat(folder, undefined, {}),
      (error) =>
        error instanceof ContextFilesError && error.message.startsWith(join(folder, 'chat_template.json')),
    )
  })
})
