import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { APIError } from 'openai'
import OpenAI, { AuthenticationError, BadRequestError, NotFoundError, toFile } from 'openai'
import { kill, type Plant, plant } from '../end-to-end/factory-fixture.ts'
import { until } from '../support/until.ts'

/** A module that speaks the API itself, as a server would. */
const ECHO = `
const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 }
export async function chat(request) {
  const text = request.messages.at(-1).content
  if (text === 'slow') await new Promise((resolve) => setTimeout(resolve, 60_000))
  const message = { role: 'assistant', content: text.toUpperCase() }
  return {
    id: 'x', object: 'chat.completion', created: 0, model: request.model, seen: Object.keys(request),
    choices: [{ index: 0, message, logprobs: null, finish_reason: 'stop' }], usage,
  }
}
`
const MODEL = fileURLToPath(new URL('../../templates/fact-verification/model', import.meta.url))

describe('the OpenAI API of a factory, asked by the official client', () => {
  let here: Plant
  let openai: OpenAI

  before(async () => {
    here = await plant()
    for (const [file, text] of Object.entries({
      'echo/context.yaml':
        'name: echo\nlibrary: module\nbundles: { app: app }\nsetup: { bundle: app, file: index.mjs }\nfunctions: { chat: { export: chat } }\n',
      'echo/app/index.mjs': ECHO,
      'tiny/context.yaml': `name: tiny\nlibrary: causal-lm\nbundles: { model: ${MODEL} }\nsetup: { model: model }\nfunctions: { generate: {} }\n`,
    })) {
      await mkdir(join(here.folder, file, '..'), { recursive: true })
      await writeFile(join(here.folder, file), text)
    }
    await writeFile(
      join(here.state, 'factory.yaml'),
      `contexts: [${join(here.folder, 'echo')}, ${join(here.folder, 'tiny')}, ${join(here.folder, 'words')}]\n` +
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

  test('lists contexts that answer requests as models, and no others', async () => {
    const { data } = await openai.models.list()
    assert.deepEqual(data.map(({ id }) => id).sort(), ['echo', 'tiny'])
    assert.equal((await openai.models.retrieve('tiny')).id, 'tiny')
  })

  test('opens with a key that a command has made, until a command revokes it', async () => {
    const { stdout } = await here.factory('key', 'create', 'paper', '--model', 'tiny', '--read-only')
    const models = new OpenAI({ baseURL: openai.baseURL, apiKey: stdout.trim(), maxRetries: 0 }).models
    assert.deepEqual(
      (await models.list()).data.map(({ id }) => id),
      ['tiny'],
    )
    assert.match((await here.factory('key', 'list')).stdout, /^paper +tiny +read +\S+$/m)
    await here.factory('key', 'revoke', 'paper')
    await assert.rejects(async () => models.list(), AuthenticationError)
  })

  test('answers a request for a response as the chat that it is, and refuses by name what goes beyond', async () => {
    const asked = { temperature: 0, max_output_tokens: 4 }
    const [chat, response] = await Promise.all([
      openai.chat.completions.create({
        model: 'tiny',
        messages: [
          { role: 'system', content: 'Be short.' },
          { role: 'user', content: 'Claim: a cat sat.' },
        ],
        temperature: 0,
        max_completion_tokens: 4,
      }),
      openai.responses.create({
        model: 'tiny',
        instructions: 'Be short.',
        input: 'Claim: a cat sat.',
        ...asked,
        metadata: { of: 'a test' },
      }),
    ])
    assert.equal(response.output_text, chat.choices[0]!.message.content)
    assert.equal(response.usage!.total_tokens, chat.usage!.total_tokens)
    assert.deepEqual(
      [response.status, response.incomplete_details?.reason],
      chat.choices[0]!.finish_reason === 'length'
        ? ['incomplete', 'max_output_tokens']
        : ['completed', undefined],
    )
    assert.deepEqual(response.metadata, { of: 'a test' })
    const echoed = await openai.responses.create({
      model: 'echo',
      input: [
        { role: 'user', content: 'no' },
        { role: 'assistant', content: 'no' },
        { role: 'user', content: [{ type: 'input_text', text: 'hear me' }] },
      ],
    })
    assert.deepEqual([echoed.output_text, echoed.status], ['HEAR ME', 'completed'])
    const refused = [
      [{ previous_response_id: 'resp_1' }, 'previous_response_id'],
      [{ tools: [{ type: 'web_search' }] }, 'tools'],
      [{ store: true }, 'store'],
      [{ input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'x' }] }] }, 'input'],
    ] as const
    for (const [fields, param] of refused)
      await assert.rejects(
        openai.responses.create({ model: 'tiny', input: 'x', ...(fields as object) }),
        (error) => error instanceof BadRequestError && error.param === param,
      )
    await assert.rejects(openai.responses.create({ model: 'none', input: 'x' }), NotFoundError)
  })

  test('streams a response whose texts are together the one that comes in one piece', async () => {
    for (const model of ['tiny', 'echo']) {
      const ask = {
        model,
        input: 'Claim: a cat sat.',
        ...(model === 'tiny' && { temperature: 0, max_output_tokens: 4 }),
      }
      const whole = await openai.responses.create(ask)
      const stream = openai.responses.stream(ask)
      const types: string[] = []
      let text = ''
      for await (const event of stream) {
        if (event.type === 'response.output_text.delta') text += event.delta
        assert.equal(event.sequence_number, types.length)
        types.push(event.type)
      }
      const final = await stream.finalResponse()
      assert.deepEqual([text, final.output_text], [whole.output_text, whole.output_text])
      assert.deepEqual([final.usage, final.status], [whole.usage, whole.status])
      assert.deepEqual([types[0], types.at(-1)], ['response.created', `response.${whole.status}`])
    }
  })

  test('answers a chat with what the engine generates, and says what it cost', async () => {
    const messages = [{ role: 'user' as const, content: 'Evidence: a cat sat. Claim: a cat sat.' }]
    const ask = { model: 'tiny', messages, max_completion_tokens: 4, temperature: 0 }
    const answer = await openai.chat.completions.create(ask)
    assert.ok(answer.choices[0]!.message.content!.length > 0)
    const { prompt_tokens, completion_tokens, total_tokens } = answer.usage!
    assert.ok(prompt_tokens > 0 && completion_tokens > 0 && completion_tokens <= 4)
    assert.equal(total_tokens, prompt_tokens + completion_tokens)
    const again = await openai.chat.completions.create(ask)
    assert.match(again._request_id!, /^req_/)
    assert.equal(again.choices[0]!.message.content, answer.choices[0]!.message.content)
  })

  test('streams an answer as the events that the client puts together', async () => {
    const stream = await openai.chat.completions.create({
      model: 'echo',
      messages: [{ role: 'user', content: 'hello' }],
      stream: true,
      stream_options: { include_usage: true },
    })
    let text = ''
    let tokens = 0
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? ''
      tokens = chunk.usage?.total_tokens ?? tokens
    }
    assert.deepEqual([text, tokens], ['HELLO', 2])
  })

  test('passes a request to a context that speaks the API itself with every field that it has', async () => {
    const request = { model: 'echo', messages: [{ role: 'user' as const, content: 'x' }], guided_regex: '.*' }
    const answer = (await openai.chat.completions.create(request)) as unknown as { seen: string[] }
    assert.deepEqual(answer.seen.sort(), ['guided_regex', 'messages', 'model'])
  })

  test('refuses what cannot be done by name, in errors that the client knows', async () => {
    const messages = [{ role: 'user' as const, content: 'x' }]
    const failure = (promise: Promise<unknown>) =>
      promise.then(
        () => assert.fail('it was answered'),
        (error: unknown) => error as APIError,
      )
    const absent = await failure(openai.chat.completions.create({ model: 'gpt-5', messages }))
    assert.ok(absent instanceof NotFoundError)
    assert.match(absent.message, /there is no (model|context) "gpt-5" \(\w+: .*echo/)
    const effort = await failure(
      openai.chat.completions.create({ model: 'tiny', messages, reasoning_effort: 'low' }),
    )
    assert.deepEqual([effort.status, effort.param], [400, 'reasoning_effort'])
    const wrongKey = new OpenAI({ baseURL: openai.baseURL, apiKey: 'wrong', maxRetries: 0 })
    const refused = await failure(wrongKey.models.list())
    assert.equal(refused.status, 401)
    const ids = [absent, effort, refused].map(({ requestID }) => requestID)
    assert.ok(ids.every((id) => /^req_[0-9a-f-]{36}$/.test(id ?? '')))
    assert.equal(new Set(ids).size, 3, 'each request has an id of its own')
    assert.equal((await failure(openai.embeddings.create({ model: 'tiny', input: 'x' }))).status, 404)
  })

  test('cancels a call when its client hangs up, so that its slot is free for others', async () => {
    const hanging = new AbortController()
    const call = openai.chat.completions.create(
      { model: 'echo', messages: [{ role: 'user', content: 'slow' }] },
      { signal: hanging.signal },
    )
    call.catch(() => {})
    const running = async () => (await here.status()).tasks
    await until(async () => (await running()).leased > 0)
    hanging.abort()
    await assert.rejects(call)
    await until(async () => {
      const { queued, leased } = await running()
      return queued + leased === 0
    })
  })

  test('runs a batch of 50,000 to its end while pilots are killed, with a result for each request', async () => {
    const count = 50_000
    const line = (i: number) => ({
      custom_id: `r${i}`,
      method: 'POST',
      url: '/v1/chat/completions',
      body: { model: 'echo', messages: [{ role: 'user', content: `text ${i}` }] },
    })
    const text = Array.from({ length: count }, (_, i) => JSON.stringify(line(i))).join('\n')
    const file = await openai.files.create({
      file: await toFile(Buffer.from(text), 'in.jsonl'),
      purpose: 'batch',
    })
    let batch = await openai.batches.create({
      input_file_id: file.id,
      endpoint: '/v1/chat/completions',
      completion_window: '24h',
      metadata: { study: 'one' },
    })
    assert.deepEqual([batch.status, batch.metadata], ['validating', { study: 'one' }])
    const killed = new Set<number>()
    for (const share of [0.01, 0.3, 0.6]) {
      const least = share * count
      await until(async () => (await openai.batches.retrieve(batch.id)).request_counts!.completed > least)
      await until(async () => {
        const pid = [...(await here.pilots()).values()].find((pid) => !killed.has(pid))
        if (pid === undefined) return false
        kill(-pid)
        killed.add(pid)
        return true
      })
    }
    await until(async () => {
      batch = await openai.batches.retrieve(batch.id)
      return batch.status === 'completed'
    })
    assert.deepEqual(batch.request_counts, { total: count, completed: count, failed: 0 })
    const output = await (await openai.files.content(batch.output_file_id!)).text()
    const rows = output
      .trim()
      .split('\n')
      .map((row) => JSON.parse(row) as { custom_id: string; response: { body: OpenAI.ChatCompletion } })
    assert.equal(new Set(rows.map(({ custom_id }) => custom_id)).size, count)
    for (const { custom_id, response } of rows)
      assert.equal(response.body.choices[0]!.message.content, `TEXT ${custom_id.slice(1)}`)
    assert.equal(batch.error_file_id, null)
    assert.ok((await openai.batches.list()).data.some(({ id }) => id === batch.id))
  })

  test('refuses a batch file line by line before anything of it runs', async () => {
    const good = {
      custom_id: 'a',
      method: 'POST',
      url: '/v1/chat/completions',
      body: { model: 'echo', messages: [] },
    }
    const lines = [good, 'no json', good, { ...good, custom_id: 'b', url: '/v1/embeddings' }]
    const text = lines.map((each) => (typeof each === 'string' ? each : JSON.stringify(each))).join('\n')
    const file = await openai.files.create({
      file: await toFile(Buffer.from(text), 'in.jsonl'),
      purpose: 'batch',
    })
    const { id } = await openai.batches.create({
      input_file_id: file.id,
      endpoint: '/v1/chat/completions',
      completion_window: '24h',
    })
    await until(async () => (await openai.batches.retrieve(id)).status === 'failed')
    const { errors } = await openai.batches.retrieve(id)
    assert.deepEqual(
      errors!.data!.map(({ line, code }) => [line, code]),
      [
        [2, 'invalid_json_line'],
        [3, 'duplicate_custom_id'],
        [4, 'mismatched_url'],
      ],
    )
    assert.equal((await openai.files.delete(file.id)).deleted, true)
    await assert.rejects(openai.files.retrieve(file.id), NotFoundError)
  })
})
