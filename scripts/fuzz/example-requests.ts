import type { z } from 'zod'
import { refOf } from '../../src/blobs/blob-folder.ts'
import { CreateBatch } from '../../src/openai/batches.ts'
import { ChatRequest, CompletionRequest, EmbeddingRequest } from '../../src/openai/request-schemas.ts'
import { ResponseRequest } from '../../src/openai/responses-api/request.ts'
import { CHANNEL } from '../../src/protocol/channels/piece-frames.ts'
import { SHELL } from '../../src/protocol/channels/shell-frames.ts'
import { LoginRequest } from '../../src/protocol/dashboard-login.ts'
import { managerRoutes } from '../../src/protocol/routes/manager-routes.ts'
import { pieceRoutes } from '../../src/protocol/routes/piece-routes.ts'
import {
  type Access,
  type Asked,
  pathOf,
  type Place,
  type Route as TableRoute,
} from '../../src/protocol/routes/route.ts'
import { dashboardRoutes } from '../../src/protocol/routes/user-routes.ts'
import { registration } from '../../test/support/manager.ts'

/** Secrets and numbers that are valid at the manager under test. */
export interface Known {
  user: string
  pilot: string
  worker: string
  session: string
  /** Of another worker. */
  foreignSession: string
  job: number
  context: string
  bundle: string
  /** A context that generates texts. */
  model: string
  /** For `bundle`, and for one that is not there. */
  ticket: string
  foreignTicket: string
}

/** What the manager under test keeps as a blob. */
export const BLOB = Buffer.from('a blob that is there')

/** A route of a server, and a request to it that is right. */
export interface Route {
  name: string
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  path: string
  token: keyof Known
  /** What it reads of a body, and a body that it accepts. */
  schema?: z.ZodType
  body?: object
  /** Bodies it takes are not JSON. */
  binary?: boolean
  /** The one that it takes. */
  bytes?: Buffer
  headers?: Record<string, string>
  /** Query strings that it refuses. */
  badQueries?: string[]
  /** Parts of its path stand for something that must exist. */
  named?: boolean
  /** It takes a form with a file. */
  form?: boolean
}

/** Every route of a manager with the OpenAI API and the dashboard. */
export function routes(known: Known): Route[] {
  return [...tableRoutes(known), ...openAiRoutes(known), ...pageRoutes(known)]
}

const table = { ...managerRoutes, ...dashboardRoutes, ...pieceRoutes }

/** What is right on a route of the table, and query strings that are not; the bytes that it takes, or what its connection becomes. */
type Example<R extends TableRoute> = Omit<Asked<R>, 'query'> & {
  badQueries?: string[]
  bytes?: Buffer
  upgrade?: string
}
type AnyExample = { params?: object; body?: object | undefined } & Pick<
  Example<TableRoute>,
  'badQueries' | 'bytes' | 'upgrade'
>
type Examples = { [Name in keyof typeof table]: Example<(typeof table)[Name]> }

const tokens = {
  user: 'user',
  metrics: 'user',
  pilot: 'pilot',
  ownWorker: 'session',
  anyWorker: 'session',
  ticket: 'ticket',
} as const satisfies Record<Access, keyof Known>

/** The routes of the table: one that has no example here does not compile. */
function tableRoutes(known: Known): Route[] {
  const all: Partial<Record<string, AnyExample>> = examples(known)
  return Object.entries<TableRoute>(table).map(([name, route]) => {
    const { params, body, bytes, badQueries, upgrade } = all[name]!
    return {
      name,
      method: route.method,
      path: pathOf(route, { params } as Place<TableRoute>),
      token: tokens[route.access],
      named: route.path.includes(':'),
      ...(route.body && body && { schema: route.body, body }),
      ...(bytes && { binary: true, bytes }),
      ...(badQueries && { badQueries }),
      ...(upgrade !== undefined && { headers: { connection: 'upgrade', upgrade } }),
    }
  })
}

function examples(known: Known): Examples {
  const { worker, context, bundle } = known
  const { sha256 } = refOf(BLOB)
  const job = { params: { job: known.job } }
  const name = { params: { name: 'name1' } }
  const own = { params: { worker } }
  const task = { task: 1, lease: 2, outcome: { status: 'done', value: 1 }, ms: 1 } as const
  const error = { name: 'Error', message: 'm', stack: 's', cause: { name: 'Error', message: 'c' } }
  const badPages = ['limit=0', 'limit=1e9', 'after=-1', 'after=x', 'limit=1&limit=2']
  const badKeys = ['key=', 'key=a&key=b', `key=${'a'.repeat(201)}`]
  const badEvents = ['after=-1', 'limit=0', 'limit=10001', 'type=', 'type=sample,x', 'job=x', 'site=%2f']
  return {
    status: {},
    events: { badQueries: [...badEvents, 'waitMs=60001'] },
    metrics: {},
    pilots: {},
    reload: {},
    contexts: {},
    addContext: { body: { path: '/nowhere/context.yaml' } },
    uploadContext: {
      body: {
        context: { name: 'uploaded' },
        files: { app: [{ path: 'a/b.js', blob: refOf(BLOB) }, { path: 'empty' }] },
        keepMs: 1,
      },
    },
    warmContext: name,
    dropContext: name,
    jobs: {},
    createJob: {
      body: {
        ...{ name: 'job', context: 'ctx', function: 'f' },
        options: { retries: 1, timeLimitMs: 1000, priority: 1 },
      },
    },
    job,
    addTasks: {
      ...job,
      body: {
        tasks: [
          { key: 'a', input: { n: 1 } },
          { key: 'b', input: null, blobs: [refOf(BLOB)] },
        ],
      },
    },
    cancelTasks: { ...job, body: { keys: ['unknown'] } },
    taskProgress: { ...job, body: { keys: ['unknown'] } },
    closeJob: job,
    cancelJob: job,
    retryJob: job,
    forgetJob: job,
    jobErrors: job,
    taskLog: { ...job, badQueries: ['', ...badKeys] },
    results: { ...job, badQueries: [...badPages, 'waitMs=9999999', 'values=no', 'after=1.5'] },
    rows: { ...job, badQueries: badPages },
    findRows: { ...job, body: { keys: ['a', 'unknown'], resultsOnly: true } },
    explainJob: { ...job, badQueries: badKeys },
    explainSite: { params: { site: 'site1' } },
    orderSite: { params: { site: 'site1', order: 'pause' } },
    wantedBlobs: { body: { blobs: [refOf(BLOB)] } },
    blob: { params: { sha256 } },
    putBlob: { params: { sha256 }, bytes: BLOB },
    keys: {},
    createKey: { body: { name: 'key', models: ['model'], readOnly: true } },
    revokeKey: name,
    openShell: { params: { pilot: 'p99' }, upgrade: SHELL },
    backup: { body: { file: '/nowhere/backup.db' } },
    stop: { body: { drain: true } },
    dashboardCode: { body: { role: 'viewer' } },
    endDashboardSessions: {},

    runtime: { params: { sha256: '0'.repeat(64) } },
    register: { body: { ...registration(), jobId: '1.0', deadline: 1 } },
    exchange: {
      ...own,
      body: {
        seq: 1,
        results: [
          { ...task, blobs: [refOf(BLOB)] },
          { ...task, outcome: { status: 'error', error }, log: 'said so' },
        ],
        leases: [1],
        contexts: [{ context, level: 'memory', attempts: 1, bytesHeld: 1, fetchMs: 1, memory: 1, error }],
        progress: [{ task: 1, done: 1, total: 2 }],
        want: [{ context, tasks: 1 }],
        rate: 1,
        waitMs: 0,
        leaving: 'drain',
      },
    },
    parts: { ...own, body: { parts: [{ task: 1, lease: 2, n: 0, part: { text: 'so' } }] } },
    sources: {
      ...own,
      body: {
        bundle,
        faults: [{ source: 'w1', reason: 'stalled', detail: '' }],
        heldBytes: 1,
        totalBytes: 2,
        from: [{ source: 'manager', bytes: 1 }],
      },
    },
    context: { params: { context } },
    workerBlob: { params: { worker, sha256 } },
    putWorkerBlob: { params: { worker, sha256 }, bytes: BLOB },
    joinShell: { params: { worker, shell: '0'.repeat(32) }, upgrade: SHELL },

    manifest: { params: { bundle } },
    pieces: { params: { bundle }, upgrade: CHANNEL },
  }
}

function openAiRoutes({ model }: Known): Route[] {
  const badQueries = ['limit=0', 'limit=x', 'limit=10001', 'limit=1&limit=2', 'after=a&after=b']
  const file = `file-${'0'.repeat(32)}`
  const batch = `batch_${'0'.repeat(32)}`
  const common = { model, temperature: 1, stop: ['x'], stream: true, stream_options: { include_usage: true } }
  const schema = { type: 'object', properties: { a: { type: 'string' } } }
  const format = { name: 'of', schema, strict: true }
  return [
    get('/v1/models'),
    { ...get('/v1/models/model1'), named: true },
    post('/v1/chat/completions', ChatRequest, {
      ...common,
      messages: [
        { role: 'system', content: 'x' },
        { role: 'user', content: [{ type: 'text', text: 'x' }] },
      ],
      tools: [{ type: 'function', function: { name: 'f', parameters: schema } }],
      tool_choice: 'auto',
      logit_bias: { 1: 1 },
      response_format: { type: 'json_schema', json_schema: format },
    }),
    post('/v1/completions', CompletionRequest, { ...common, prompt: 'x', logprobs: 1 }),
    post('/v1/embeddings', EmbeddingRequest, { model, input: ['x', 'y'], encoding_format: 'base64' }),
    post('/v1/responses', ResponseRequest, {
      model,
      input: [{ role: 'user', content: [{ type: 'input_text', text: 'x' }] }],
      instructions: 'x',
      text: { format: { type: 'json_schema', ...format } },
      metadata: { a: 'b' },
      stream: true,
      store: false,
    }),
    { ...get('/v1/files'), badQueries },
    { ...get('/v1/files'), method: 'POST', form: true },
    { ...get(`/v1/files/${file}`), named: true },
    { ...get(`/v1/files/${file}`), method: 'DELETE', named: true },
    { ...get(`/v1/files/${file}/content`), named: true },
    { ...get('/v1/batches'), badQueries },
    post('/v1/batches', CreateBatch, {
      input_file_id: file,
      endpoint: '/v1/chat/completions',
      completion_window: '24h',
      metadata: { a: 'b' },
    }),
    { ...get(`/v1/batches/${batch}`), named: true },
    { ...get(`/v1/batches/${batch}/cancel`), method: 'POST', named: true },
  ]
}

/** Those of browsers are asked without a session: none may be opened, and nothing done. */
function pageRoutes({ job }: Known): Route[] {
  const headers = { 'sec-fetch-site': 'same-origin' }
  const api = '/dashboard/api'
  return [
    { ...post('/dashboard/session', LoginRequest, { code: 'none' }), headers },
    get(`${api}/feed`),
    get(`${api}/past`),
    get(`${api}/session`),
    { ...get(`${api}/session`), method: 'DELETE', headers },
    { ...get(`${api}/jobs/${job}/errors`), named: true },
    { ...get(`${api}/jobs/${job}/log`), named: true, badQueries: ['', 'key='] },
    { ...get(`${api}/jobs/${job}/cancel`), method: 'POST', named: true, headers },
    { ...get(`${api}/sites/site1/pause`), method: 'POST', named: true, headers },
    { ...get(`${api}/pilots/p1/drain`), method: 'POST', named: true, headers },
  ]
}

function get(path: string): Route {
  return { name: path, method: 'GET', path, token: 'user' }
}

function post(path: string, schema: z.ZodType, body: object): Route {
  return { name: path, method: 'POST', path, token: 'user', schema, body }
}
