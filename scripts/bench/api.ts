import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  createSchemaFilters,
  filterScores,
} from '../../src/library/kinds/causal-lm/grammar/json-schema-filters.ts'
import { loadContext } from '../../src/library/kinds/load-context.ts'
import { runFile } from '../../src/client/index.ts'
import { createRecorder } from '../../test/library/support/recording-reporter.ts'
import { toSetup } from '../../test/library/support/setup-message.ts'
import { Api, quantiles } from './api/openai-client.ts'
import { runFactory } from '../support/running-factory.ts'

/*
 * What the OpenAI API costs: a batch beside `factory run` on the same prompts; single chats of a model that does nothing, from
 * many clients at once; the first token of a stream through manager and worker beside that of the library alone; and a token
 * that is held to a schema.
 */

const { values } = parseArgs({
  options: {
    lines: { type: 'string', default: '50000' },
    requests: { type: 'string', default: '30000' },
    clients: { type: 'string', default: '256' },
    streams: { type: 'string', default: '50' },
    only: { type: 'string', multiple: true },
  },
})
const [lines, requests, clients, streams] = [
  values.lines,
  values.requests,
  values.clients,
  values.streams,
].map(Number) as [number, number, number, number]
const root = join(import.meta.dirname, '../..')
const claims = join(root, 'templates/fact-verification/model')
const small = join(root, 'test/fixtures/models/grouped-query')
const model = (name: string, folder: string) => ({
  'context.yaml': `{ name: ${name}, library: causal-lm, bundles: { model: ${folder} }, setup: { model: model }, functions: { generate: {} } }`,
})

await using factory = await runFactory(
  { sites: { here: { kind: 'local', policy: 'fixed', count: 2, cpus: 1 } }, manager: { idle: '10m' } },
  {
    claims: model('claims', claims),
    small: model('small', small),
    noop: {
      'context.yaml':
        '{ name: noop, library: module, bundles: { app: ./app }, setup: { bundle: app, file: noop.js }, functions: { chat: { export: chat, batch: 256 } } }',
      'app/noop.js': `
const answer = { id: 'x', object: 'chat.completion', created: 0, model: 'noop', choices: [{ index: 0, message: { role: 'assistant', content: 'yes' }, finish_reason: 'stop' }] }
export const chat = (requests) => requests.map(() => answer)
`,
    },
  },
)
const endpoint = JSON.parse(await readFile(join(factory.state, 'endpoint.json'), 'utf8')) as {
  url: string
  token: string
}
await using api = new Api(endpoint, clients)
const round = (value: number) => Math.round(value * 100) / 100

/** The same prompts by `factory run` and as a batch; the model is loaded before. */
async function measureBatch() {
  const settings = { max_tokens: 4, temperature: 0 }
  const prompt = (i: number) => `claim ${i} the cat sat on mat ${i % 97}`
  await api.ask('/v1/completions', { model: 'claims', prompt: prompt(0), ...settings })
  const input = join(factory.state, 'prompts.jsonl')
  const rows = Array.from({ length: lines }, (_, i) => ({
    id: `r${i}`,
    prompt: prompt(i),
    generation: { maxNewTokens: 4, temperature: 0 },
  }))
  await writeFile(input, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  let startedAt = performance.now()
  await runFile(factory.client, { input, context: 'claims', output: join(factory.state, 'out.jsonl') })
  const runSeconds = (performance.now() - startedAt) / 1000
  startedAt = performance.now()
  await api.batch(
    rows.map(({ id, prompt }) => ({
      custom_id: id,
      method: 'POST',
      url: '/v1/completions',
      body: { model: 'claims', prompt, ...settings },
    })),
  )
  const batchSeconds = (performance.now() - startedAt) / 1000
  return {
    lines,
    run_per_s: Math.round(lines / runSeconds),
    batch_per_s: Math.round(lines / batchSeconds),
    batch_to_run: round(runSeconds / batchSeconds),
  }
}

async function measureChats() {
  const body = { model: 'noop', messages: [{ role: 'user', content: 'Is water wet?' }] }
  const ask = () => api.ask('/v1/chat/completions', body)
  const run = async (count: number) => {
    const times: number[] = []
    let left = count
    const startedAt = performance.now()
    const [client0, factory0] = [process.cpuUsage(), await factory.processorMs()]
    const client = async () => {
      while (left-- > 0) {
        const askedAt = performance.now()
        await ask()
        times.push(performance.now() - askedAt)
      }
    }
    await Promise.all(Array.from({ length: clients }, client))
    const wallMs = performance.now() - startedAt
    const { user, system } = process.cpuUsage(client0)
    const usage = {
      client_processors: round((user + system) / 1000 / wallMs),
      manager_processors: round(((await factory.processorMs()) - factory0) / wallMs),
    }
    return { per_s: Math.round((count / wallMs) * 1000), ...quantiles(times), ...usage }
  }
  await run(Math.ceil(requests / 10))
  return { clients, ...(await run(requests)) }
}

async function measureFirstTokens() {
  const body = { model: 'small', prompt: 'Once upon a time', max_tokens: 32, temperature: 0 }
  const through: number[] = []
  for (let i = 0; i < streams; i++) through.push(await api.firstEvent('/v1/completions', body))
  const spec = { library: 'causal-lm', setup: { model: 'model' }, functions: { generate: {} } } as const
  const context = await loadContext(toSetup(spec, { model: small }))
  const input = { prompt: body.prompt, generation: { maxNewTokens: 32, stream: true } }
  const alone: number[] = []
  for (let i = 0; i < streams; i++) {
    const startedAt = performance.now()
    let first: number | undefined
    const recorder = createRecorder()
    const part = () => void (first ??= performance.now() - startedAt)
    await context.functions.get('generate')!([{ id: i, input }], { ...recorder, part })
    alone.push(first!)
  }
  await context.close()
  const [with_p50_ms, alone_p50_ms] = [quantiles(through).p50_ms, quantiles(alone).p50_ms]
  return { through_p50_ms: with_p50_ms, alone_p50_ms, more_ms: round(with_p50_ms - alone_p50_ms) }
}

/** A vocabulary as large as those of small models, and an answer of as many tokens as letters. */
async function measureSchema() {
  const size = 49_152
  const piece = (token: number) =>
    token < 256
      ? `<0x${token.toString(16).toUpperCase().padStart(2, '0')}>`
      : `${['foo', '{"', '": ', ' 12'][token % 4]}${token}`
  const filters = createSchemaFilters({ kind: 'byte_fallback', pieces: piece }, size, new Set([2]))
  const schema = {
    type: 'object',
    properties: {
      name: { type: 'string' },
      age: { type: 'integer' },
      tags: { type: 'array', items: { type: 'string' } },
    },
    required: ['name', 'age', 'tags'],
  }
  const startedAt = performance.now()
  const filter = await filters.create(schema)
  const firstMs = performance.now() - startedAt
  const tokens = [
    ...Buffer.from('{"name": "somebody who is called so", "age": 12, "tags": ["a", "b", "c d e"]}'),
  ]
  const scores = new Float32Array(size)
  const rounds = 20
  const begunAt = performance.now()
  for (let i = 0; i < rounds; i++) {
    filter.reset()
    for (const token of tokens) {
      if (filterScores(scores, filter.allowed)[token] === -Infinity)
        throw new Error('a token is refused that is right')
      filter.accept(token)
      await new Promise(setImmediate)
    }
  }
  const us = ((performance.now() - begunAt) * 1000) / (rounds * tokens.length)
  return { vocabulary: size, compile_ms: Math.round(firstMs), us_per_token: Math.round(us) }
}

const measures = {
  schema: measureSchema,
  first_token: measureFirstTokens,
  chats: measureChats,
  batch: measureBatch,
}
const report: Record<string, object> = {}
for (const [name, measure] of Object.entries(measures)) {
  if (values.only && !values.only.includes(name)) continue
  report[name] = await measure()
  console.table({ [name]: report[name] })
}
console.log(JSON.stringify(report))
