import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { access, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import OpenAI, {
  APIError,
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  UnprocessableEntityError,
} from 'openai'
import { kill, type Plant, plant } from '../end-to-end/factory-fixture.ts'
import { until } from '../support/until.ts'

/** Random weights over bytes: its texts are full of half characters, which is what a stream must not show. */
const MODEL = fileURLToPath(new URL('../fixtures/models/grouped-query', import.meta.url))

/** A server that speaks the API. It sends the words of a message one by one, and stops at one that is a path until there is a file. */
const SERVER = `
import { existsSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { json } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
const [socket] = process.argv.slice(2)
createServer(async (request, response) => {
  if (request.url === '/health') return response.end('fine')
  const { messages, stream, stream_options, model } = await json(request)
  const words = messages.at(-1).content.split(' ')
  const head = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model, own_field: 0.1 }
  if (words[0] === 'refuse') return response.writeHead(+words[1]).end('{"error":{"message":"no","param":"messages","code":400}}')
  if (!stream) {
    while (!existsSync(words[0]) && !response.destroyed) await delay(5)
    return response.end('{}')
  }
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
  for (const word of words) {
    if (word.startsWith('/')) {
      response.on('close', () => writeFileSync(word + '.closed', ''))
      while (!existsSync(word) && !response.destroyed) await delay(5)
      continue
    }
    const choices = [{ index: 0, delta: { content: word + ' ' }, finish_reason: null }]
    response.write('data: ' + JSON.stringify({ ...head, choices }) + '\\r\\n\\r\\n: a remark\\n\\n')
  }
  if (stream_options?.include_usage)
    response.write('data: ' + JSON.stringify({ ...head, choices: [], usage: { total_tokens: words.length } }) + '\\n\\n')
  response.end('data: [DONE]\\n\\n')
}).listen(socket)
`

describe('streams of the OpenAI API, read by the official client', () => {
  let here: Plant
  let openai: OpenAI

  before(async () => {
    here = await plant()
    for (const [file, text] of Object.entries({
      'bytes/context.yaml': `name: bytes\nlibrary: causal-lm\nbundles: { model: ${MODEL} }\nsetup: { model: model }\nfunctions: { generate: {} }\n`,
      'words-server/context.yaml':
        'name: server\nlibrary: server\nbundles: { app: app }\n' +
        `setup: { command: ['${process.execPath}', '{{ bundles.app }}/server.mjs', '{{ socket }}'], healthy: /health }\n` +
        'functions: { chat: { path: /v1/chat/completions } }\n',
      'words-server/app/server.mjs': SERVER,
    })) {
      await mkdir(join(here.folder, file, '..'), { recursive: true })
      await writeFile(join(here.folder, file), text)
    }
    await writeFile(
      join(here.state, 'factory.yaml'),
      `contexts: [${join(here.folder, 'bytes')}, ${join(here.folder, 'words-server')}]\n` +
        'sites: { here: { kind: local, count: 2 } }\n',
    )
    await here.start()
    const { url, token } = JSON.parse(await readFile(join(here.state, 'endpoint.json'), 'utf8')) as {
      url: string
      token: string
    }
    openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: token, maxRetries: 0 })
  })
  after(() => here[Symbol.asyncDispose]())

  test('an answer read as it grows is the very one that comes in one piece, whatever the prompt and the settings', async () => {
    const settings = [
      { temperature: 0 },
      { temperature: 0.9, seed: 5, n: 3 },
      { temperature: 1.5, seed: 6, stop: ['a', 'ee', '\n', 'é'] },
      { temperature: 0.7, seed: 7, logprobs: 2 },
    ]
    let chunks = 0
    const compare = async (i: number) => {
      const ask = {
        model: 'bytes',
        prompt: `Prompt ${i}: ${'äß€😀 word '.repeat(i % 7)}`,
        max_tokens: 40,
        ...settings[i % settings.length],
      }
      const whole = await openai.completions.create(ask)
      const texts = whole.choices.map(() => '')
      const tokens: string[] = []
      const ends = new Map<number, string | null>()
      let usage: OpenAI.CompletionUsage | null | undefined
      const stream = await openai.completions.create({
        ...ask,
        stream: true,
        stream_options: { include_usage: true },
      })
      for await (const chunk of stream) {
        chunks++
        usage = chunk.usage ?? usage
        for (const { index, text, finish_reason, logprobs } of chunk.choices) {
          texts[index] += text
          tokens.push(...(logprobs?.tokens ?? []))
          if ((finish_reason as string | null) !== null) ends.set(index, finish_reason)
        }
      }
      assert.deepEqual(
        texts.map((text, index) => [text, ends.get(index)]),
        whole.choices.map(({ text, finish_reason }) => [text, finish_reason]),
      )
      assert.deepEqual(usage, whole.usage)
      assert.deepEqual(tokens, whole.choices[0]!.logprobs?.tokens ?? [])
    }
    await Promise.all(Array.from({ length: 48 }, (_, i) => compare(i)))
    assert.ok(chunks > 48 * 4, `${chunks} chunks`)
  })

  test('the first chunk of a chat says who speaks, and what is wrong with a request is said before there is one', async () => {
    const messages = [{ role: 'user' as const, content: 'x' }]
    const ask = { model: 'bytes', messages, stream: true as const }
    const deltas: OpenAI.ChatCompletionChunk.Choice.Delta[] = []
    for await (const { choices } of await openai.chat.completions.create({
      ...ask,
      max_completion_tokens: 9,
    }))
      deltas.push(choices[0]!.delta)
    assert.deepEqual(deltas[0], { role: 'assistant', content: '', refusal: null })
    const long = [{ role: 'user' as const, content: 'x'.repeat(2000) }]
    await assert.rejects(openai.chat.completions.create({ ...ask, messages: long }), BadRequestError)
  })

  test('an answer that must be JSON of a schema is, in one piece and as it grows; a schema that is none is refused', async () => {
    const schema = {
      type: 'object',
      properties: { verdict: { enum: ['yes', 'no'] }, sure: { type: 'boolean' } },
      required: ['verdict', 'sure'],
      additionalProperties: false,
    }
    const ask = (schema: Record<string, unknown>) => ({
      model: 'bytes',
      messages: [{ role: 'user' as const, content: 'Is water wet?' }],
      response_format: {
        type: 'json_schema' as const,
        json_schema: { name: 'answer', schema, strict: true },
      },
      max_completion_tokens: 300,
      seed: 3,
    })
    const { choices } = await openai.chat.completions.create(ask(schema))
    const whole = choices[0]!.message.content!
    const { verdict, sure } = JSON.parse(whole) as Record<string, unknown>
    assert.ok(['yes', 'no'].includes(verdict as string) && typeof sure === 'boolean')
    let text = ''
    for await (const chunk of await openai.chat.completions.create({ ...ask(schema), stream: true }))
      text += chunk.choices[0]?.delta.content ?? ''
    assert.equal(text, whole)
    await assert.rejects(openai.chat.completions.create(ask({ type: 'nonsense' })), (error) => {
      assert.ok(error instanceof BadRequestError)
      assert.deepEqual([error.param, error.code], ['response_format', 'invalid_schema'])
      assert.match(error.message, /Unsupported type "nonsense"/)
      return true
    })
  })

  test('a tool that must be called is, with arguments of its schema, in one piece and at the end of a stream', async () => {
    const parameters = {
      type: 'object',
      properties: { city: { enum: ['Rome', 'Oslo'] } },
      required: ['city'],
      additionalProperties: false,
    }
    const ask = {
      model: 'bytes',
      messages: [{ role: 'user' as const, content: 'How is the weather?' }],
      tools: [{ type: 'function' as const, function: { name: 'weather', parameters } }],
      tool_choice: 'required' as const,
      max_completion_tokens: 300,
      seed: 4,
    }
    const { message, finish_reason } = (await openai.chat.completions.create(ask)).choices[0]!
    const [call] = message.tool_calls as OpenAI.ChatCompletionMessageFunctionToolCall[]
    assert.deepEqual([message.content, finish_reason, call!.function.name], [null, 'tool_calls', 'weather'])
    assert.match(call!.function.arguments, /^{"city":"(Rome|Oslo)"}$/)
    const streamed = await openai.chat.completions.stream(ask).finalChatCompletion()
    const [other] = streamed.choices[0]!.message.tool_calls as OpenAI.ChatCompletionMessageFunctionToolCall[]
    assert.deepEqual(other!.function.arguments, call!.function.arguments)
    const answer = { role: 'tool' as const, tool_call_id: call!.id, content: 'rain' }
    const { choices } = await openai.chat.completions.create({
      ...ask,
      messages: [...ask.messages, message, answer],
      tool_choice: 'none',
      max_completion_tokens: 8,
    })
    assert.equal(choices[0]!.message.tool_calls, undefined)
  })

  const askServer = (content: string, signal?: AbortSignal, client = openai) =>
    client.chat.completions.create(
      {
        model: 'server',
        messages: [{ role: 'user', content }],
        stream: true,
        stream_options: { include_usage: true },
      },
      signal ? { signal } : {},
    )
  const wordsOf = async (
    stream: AsyncIterable<OpenAI.ChatCompletionChunk>,
    onWord?: (word: string) => void,
  ) => {
    const words: string[] = []
    let total = 0
    for await (const chunk of stream) {
      assert.equal((chunk as unknown as { own_field: number }).own_field, 0.1)
      total = chunk.usage?.total_tokens ?? total
      const word = chunk.choices[0]?.delta.content
      if (word == null) continue
      words.push(word.trim())
      onWord?.(word.trim())
    }
    return { words, total }
  }

  test("a server's events are passed on as they arrive, with every field that they have", async () => {
    const gate = join(here.folder, 'gate')
    const passed = await wordsOf(await askServer(`one two ${gate} three`), (word) => {
      // Only what has been read lets the server go on.
      if (word === 'two') void writeFile(gate, '')
    })
    assert.deepEqual(passed, { words: ['one', 'two', 'three'], total: 4 })
  })

  test('a client that hangs up in the middle of a stream has the server end its answer', async () => {
    const gate = join(here.folder, 'never')
    const hanging = new AbortController()
    const stream = await askServer(`one ${gate} two`, hanging.signal)
    for await (const _chunk of stream) hanging.abort()
    const closed = () =>
      access(`${gate}.closed`).then(
        () => true,
        () => false,
      )
    await until(closed)
    await until(async () => {
      const { queued, leased } = (await here.status()).tasks
      return queued + leased === 0
    })
  })

  test('a key that is revoked ends the streams and the answers that it has under way, and no others', async () => {
    const gate = join(here.folder, 'revoked')
    const { stdout } = await here.factory('key', 'create', 'guest')
    const guest = openai.withOptions({ apiKey: stdout.trim() })
    const words: string[] = []
    let other: ReturnType<typeof wordsOf> | undefined
    let whole: Promise<void> | undefined
    await assert.rejects(
      wordsOf(await askServer(`one ${gate} two`, undefined, guest), (word) => {
        words.push(word)
        const messages = [{ role: 'user' as const, content: `${gate}.never` }]
        whole = assert.rejects(
          guest.chat.completions.create({ model: 'server', messages }),
          AuthenticationError,
        )
        other = askServer(`one ${gate}.other two`).then(wordsOf)
        // A request of the key that comes too late for this is refused with the same words.
        void here.factory('key', 'revoke', 'guest')
      }),
      (error) => error instanceof APIError && /the API key was revoked/.test(error.message),
    )
    assert.deepEqual(words, ['one'])
    await whole
    await until(() => existsSync(`${gate}.closed`))
    await writeFile(`${gate}.other`, '')
    assert.deepEqual((await other!).words, ['one', 'two'])
  })

  test('a stream goes on where it was when its worker is killed and another one begins again', async () => {
    const gate = join(here.folder, 'killed')
    let killed = false
    const passed = await wordsOf(await askServer(`one two ${gate} three`), (word) => {
      if (word !== 'two' || killed) return
      killed = true
      void here.pilots().then(async (pilots) => {
        for (const pid of pilots.values()) kill(-pid)
        await writeFile(gate, '')
      })
    })
    assert.deepEqual(passed.words, ['one', 'two', 'three'])
  })

  test('an error that comes before the first event is answered with a status, as for any other request', async () => {
    await assert.rejects(
      askServer('refuse 422'),
      (error) =>
        error instanceof UnprocessableEntityError && error.param === 'messages' && /no$/.test(error.message),
    )
    await assert.rejects(
      openai.responses.create({ model: 'server', input: 'refuse 400', stream: true }),
      BadRequestError,
    )
    // Whose credentials are not known to the server is the context's affair, not the client's.
    await assert.rejects(askServer('refuse 401'), InternalServerError)
  })
})
