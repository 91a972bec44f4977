import type { z } from 'zod'
import { refOf } from '../../src/blobs/blob-folder.ts'
import { WantedBlobsRequest } from '../../src/protocol/blob.ts'
import {
  AddContextRequest,
  AddTasksRequest,
  BackupRequest,
  CancelTasksRequest,
  CreateJobRequest,
  FindRowsRequest,
  ProgressRequest,
  StopRequest,
  UploadContextRequest,
} from '../../src/protocol/client.ts'
import { CHANNEL } from '../../src/protocol/channels/piece-frames.ts'
import { SourcesRequest } from '../../src/protocol/sources.ts'
import { ExchangeRequest, RegisterRequest } from '../../src/protocol/worker.ts'
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
  /** For `bundle`, and for one that is not there. */
  ticket: string
  foreignTicket: string
}

/** What the manager under test keeps as a blob. */
export const BLOB = Buffer.from('a blob that is there')

export interface Route {
  method: 'GET' | 'POST' | 'PUT'
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
}

/** Every route of the manager. */
export function routes(known: Known): Route[] {
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
      headers: { connection: 'upgrade', upgrade: CHANNEL },
    },
  ]
}

function post(path: string, schema: z.ZodType, body: object): Route {
  return { method: 'POST', path, token: 'user', schema, body }
}

function put(path: string, token: 'user' | 'session', bytes: Buffer): Route {
  return { method: 'PUT', path, token, binary: true, bytes, named: true }
}
