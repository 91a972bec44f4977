import type { z } from 'zod'
import { refOf } from '../../src/blobs/blob-folder.ts'
import { WantedBlobsRequest } from '../../src/protocol/blob.ts'
import {
  AddContextRequest,
  AddTasksRequest,
  BackupRequest,
  CancelTasksRequest,
  CreateKeyRequest,
  CreateJobRequest,
  FindRowsRequest,
  ProgressRequest,
  StopRequest,
  UploadContextRequest,
} from '../../src/protocol/client.ts'
import { CreateBatch } from '../../src/openai/batches.ts'
import { ChatRequest, CompletionRequest, EmbeddingRequest } from '../../src/openai/requests.ts'
import { ResponseRequest } from '../../src/openai/responses-api/request.ts'
import { CHANNEL } from '../../src/protocol/channels/piece-frames.ts'
import { SHELL } from '../../src/protocol/channels/shell-frames.ts'
import { LoginCodeRequest, LoginRequest } from '../../src/protocol/dashboard.ts'
import { SourcesRequest } from '../../src/protocol/sources.ts'
import { ExchangeRequest, PartsRequest, RegisterRequest } from '../../src/protocol/worker.ts'
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

export interface Route {
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
  return [...managerRoutes(known), ...openAiRoutes(known), ...dashboardRoutes(known)]
}

function managerRoutes(known: Known): Route[] {
  const { worker, job, context, bundle } = known
  const pieces = `/v1/pieces/${bundle}`
  const task = { task: 1, lease: 2, outcome: { status: 'done', value: 1 }, ms: 1 }
  const { sha256 } = refOf(BLOB)
  const error = { name: 'Error', message: 'm', stack: 's', cause: { name: 'Error', message: 'c' } }
  return [
    { method: 'GET', path: '/v1/status', token: 'user' },
    {
      method: 'GET',
      path: '/v1/events',
      token: 'user',
      badQueries: [
        'after=-1',
        'limit=0',
        'limit=10001',
        'type=',
        'type=sample,x',
        'job=x',
        'site=%2f',
        'waitMs=60001',
      ],
    },
    { method: 'GET', path: '/v1/contexts', token: 'user' },
    post('/v1/contexts', AddContextRequest, { path: '/nowhere/context.yaml' }),
    post('/v1/contexts/upload', UploadContextRequest, {
      context: { name: 'uploaded' },
      files: { app: [{ path: 'a/b.js', blob: refOf(BLOB) }, { path: 'empty' }] },
      keepMs: 1,
    }),
    { method: 'GET', path: '/v1/jobs', token: 'user' },
    post('/v1/jobs', CreateJobRequest, {
      name: 'job',
      context: 'ctx',
      function: 'f',
      options: { retries: 1, timeLimitMs: 1000, priority: 1 },
    }),
    { method: 'GET', path: `/v1/jobs/${job}`, token: 'user', named: true },
    post(`/v1/jobs/${job}/tasks`, AddTasksRequest, {
      tasks: [
        { key: 'a', input: { n: 1 } },
        { key: 'b', input: null, blobs: [refOf(BLOB)] },
      ],
    }),
    post(`/v1/jobs/${job}/tasks/cancel`, CancelTasksRequest, { keys: ['unknown'] }),
    post(`/v1/jobs/${job}/tasks/progress`, ProgressRequest, { keys: ['unknown'] }),
    {
      method: 'GET',
      path: `/v1/jobs/${job}/log`,
      token: 'user',
      named: true,
      badQueries: ['', 'key=', 'key=a&key=b', `key=${'a'.repeat(201)}`],
    },
    {
      method: 'GET',
      path: `/v1/jobs/${job}/results`,
      token: 'user',
      named: true,
      badQueries: [
        'limit=0',
        'limit=1e9',
        'after=-1',
        'after=x',
        'waitMs=9999999',
        'limit=1&limit=2',
        'values=no',
        'after=1.5',
      ],
    },
    {
      method: 'GET',
      path: `/v1/jobs/${job}/rows`,
      token: 'user',
      named: true,
      badQueries: ['limit=0', 'limit=1e9', 'after=-1', 'after=x', 'limit=1&limit=2'],
    },
    post(`/v1/jobs/${job}/rows`, FindRowsRequest, { keys: ['a', 'nobody'], resultsOnly: true }),
    post('/v1/blobs', WantedBlobsRequest, { blobs: [refOf(BLOB)] }),
    { method: 'GET', path: `/v1/blobs/${sha256}`, token: 'user', named: true },
    { method: 'GET', path: `/v1/workers/${worker}/blobs/${sha256}`, token: 'session', named: true },
    put(`/v1/blobs/${sha256}`, 'user', BLOB),
    put(`/v1/workers/${worker}/blobs/${sha256}`, 'session', BLOB),
    { method: 'GET', path: '/v1/keys', token: 'user' },
    post('/v1/keys', CreateKeyRequest, { name: 'key', models: ['model'], readOnly: true }),
    { method: 'POST', path: '/v1/keys/key1/revoke', token: 'user', named: true },
    { method: 'GET', path: '/v1/pilots', token: 'user' },
    { method: 'GET', path: '/v1/pilots/p99/shell', token: 'user', named: true, headers: upgradeTo(SHELL) },
    {
      method: 'GET',
      path: `/v1/workers/${worker}/shells/${'0'.repeat(32)}`,
      token: 'session',
      named: true,
      headers: upgradeTo(SHELL),
    },
    post('/v1/backup', BackupRequest, { file: '/nowhere/backup.db' }),
    post('/v1/stop', StopRequest, { drain: true }),
    {
      ...post('/v1/workers', RegisterRequest, { ...registration(), jobId: '1.0', deadline: 1 }),
      token: 'pilot',
    },
    {
      ...post(`/v1/workers/${worker}/exchange`, ExchangeRequest, {
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
      }),
      token: 'session',
    },
    {
      ...post(`/v1/workers/${worker}/parts`, PartsRequest, {
        parts: [{ task: 1, lease: 2, n: 0, part: { text: 'so' } }],
      }),
      token: 'session',
    },
    {
      ...post(`/v1/workers/${worker}/sources`, SourcesRequest, {
        bundle,
        faults: [{ source: 'w1', reason: 'stalled', detail: '' }],
        heldBytes: 1,
        totalBytes: 2,
        from: [{ source: 'manager', bytes: 1 }],
      }),
      token: 'session',
    },
    { method: 'GET', path: `/v1/contexts/${context}`, token: 'session', named: true },
    { method: 'GET', path: `/v1/runtime/${'0'.repeat(64)}`, token: 'pilot', named: true },
    { method: 'GET', path: `${pieces}/manifest`, token: 'ticket', named: true },
    {
      method: 'GET',
      path: pieces,
      token: 'ticket',
      named: true,
      headers: upgradeTo(CHANNEL),
    },
  ]
}

const upgradeTo = (upgrade: string) => ({ connection: 'upgrade', upgrade })

function openAiRoutes({ model }: Known): Route[] {
  const badQueries = ['limit=0', 'limit=x', 'limit=10001', 'limit=1&limit=2', 'after=a&after=b']
  const file = `file-${'0'.repeat(32)}`
  const batch = `batch_${'0'.repeat(32)}`
  const common = { model, temperature: 1, stop: ['x'], stream: true, stream_options: { include_usage: true } }
  const schema = { type: 'object', properties: { a: { type: 'string' } } }
  const format = { name: 'of', schema, strict: true }
  return [
    { method: 'GET', path: '/v1/models', token: 'user' },
    { method: 'GET', path: '/v1/models/model1', token: 'user', named: true },
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
    { method: 'GET', path: '/v1/files', token: 'user', badQueries },
    { method: 'POST', path: '/v1/files', token: 'user', form: true },
    { method: 'GET', path: `/v1/files/${file}`, token: 'user', named: true },
    { method: 'DELETE', path: `/v1/files/${file}`, token: 'user', named: true },
    { method: 'GET', path: `/v1/files/${file}/content`, token: 'user', named: true },
    { method: 'GET', path: '/v1/batches', token: 'user', badQueries },
    post('/v1/batches', CreateBatch, {
      input_file_id: file,
      endpoint: '/v1/chat/completions',
      completion_window: '24h',
      metadata: { a: 'b' },
    }),
    { method: 'GET', path: `/v1/batches/${batch}`, token: 'user', named: true },
    { method: 'POST', path: `/v1/batches/${batch}/cancel`, token: 'user', named: true },
  ]
}

/** Those of browsers are asked without a session: none may be opened, and nothing done. */
function dashboardRoutes({ job }: Known): Route[] {
  const headers = { 'sec-fetch-site': 'same-origin' }
  const api = '/dashboard/api'
  return [
    post('/v1/dashboard/codes', LoginCodeRequest, { role: 'viewer' }),
    { ...post('/dashboard/session', LoginRequest, { code: 'none' }), headers },
    { method: 'GET', path: `${api}/feed`, token: 'user' },
    { method: 'GET', path: `${api}/past`, token: 'user' },
    { method: 'GET', path: `${api}/session`, token: 'user' },
    { method: 'DELETE', path: `${api}/session`, token: 'user', headers },
    { method: 'GET', path: `${api}/jobs/${job}/errors`, token: 'user', named: true },
    { method: 'GET', path: `${api}/jobs/${job}/log`, token: 'user', named: true, badQueries: ['', 'key='] },
    { method: 'POST', path: `${api}/jobs/${job}/cancel`, token: 'user', named: true, headers },
    { method: 'POST', path: `${api}/sites/site1/pause`, token: 'user', named: true, headers },
    { method: 'POST', path: `${api}/pilots/p1/drain`, token: 'user', named: true, headers },
  ]
}

function post(path: string, schema: z.ZodType, body: object): Route {
  return { method: 'POST', path, token: 'user', schema, body }
}

function put(path: string, token: 'user' | 'session', bytes: Buffer): Route {
  return { method: 'PUT', path, token, binary: true, bytes, named: true }
}
