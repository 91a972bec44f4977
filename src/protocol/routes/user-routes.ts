import { z } from 'zod'
import { WantedBlobsRequest, WantedBlobsResponse } from '../blob.ts'
import * as api from '../client.ts'
import { ContextSpec } from '../contexts/context.ts'
import { EndedSessions, LoginCode, LoginCodeRequest } from '../dashboard-login.ts'
import { EVENT_TYPES, EVENTS_AT_ONCE, EventsResponse } from '../events.ts'
import { JobExplanation, SiteExplanation } from '../explanation.ts'
import { Digits, limits, Name, Sha256 } from '../primitives.ts'
import { PilotsResponse, SiteOrder, SiteStatus, Status } from '../status.ts'
import type { Route } from './route.ts'

const job = z.object({ job: Digits })
const named = z.object({ name: Name })
const site = z.object({ site: Name })
const blob = z.object({ sha256: Sha256 })
const key = z.string().min(1).max(limits.key)

const ResultsQuery = z.object({
  after: Digits.default(0),
  epoch: z.string().max(100).optional(),
  limit: Digits.pipe(z.int().min(1).max(limits.batch)).default(1000),
  waitMs: Digits.pipe(z.int().max(limits.wait)).default(0),
  values: z
    .enum(['true', 'false'])
    .default('true')
    .transform((text) => text === 'true'),
})

const EventsQuery = z.object({
  after: Digits.optional(),
  last: Digits.pipe(z.int().max(EVENTS_AT_ONCE)).optional(),
  limit: Digits.pipe(z.int().min(1).max(EVENTS_AT_ONCE)).default(1000),
  waitMs: Digits.pipe(z.int().max(limits.wait)).default(0),
  job: Digits.optional(),
  site: Name.optional(),
  type: z
    .string()
    .max(1000)
    .transform((text) => text.split(','))
    .pipe(z.array(z.enum(EVENT_TYPES)))
    .optional(),
})

const get = { method: 'GET', access: 'user' } as const
const post = { method: 'POST', access: 'user', bodyLimit: limits.smallBody } as const

/** What users' programs and the command line ask of the manager about contexts and the large values of tasks. */
const contextRoutes = {
  contexts: { ...get, path: '/v1/contexts', answer: api.ContextsResponse },
  addContext: { ...post, path: '/v1/contexts', body: api.AddContextRequest, answer: ContextSpec },
  uploadContext: {
    ...post,
    path: '/v1/contexts/upload',
    body: api.UploadContextRequest,
    bodyLimit: limits.value,
    answer: ContextSpec,
  },
  warmContext: { ...post, path: '/v1/contexts/:name/warm', params: named, answer: ContextSpec },
  dropContext: { ...post, path: '/v1/contexts/:name/drop', params: named, answer: ContextSpec },
  wantedBlobs: { ...post, path: '/v1/blobs', body: WantedBlobsRequest, answer: WantedBlobsResponse },
  blob: { ...get, path: '/v1/blobs/:sha256', params: blob, carries: 'bytes' },
  putBlob: {
    method: 'PUT',
    access: 'user',
    path: '/v1/blobs/:sha256',
    params: blob,
    carries: 'bytes',
  },
} as const satisfies Record<string, Route>

/** About jobs. */
const jobRoutes = {
  jobs: { ...get, path: '/v1/jobs', answer: api.JobsResponse },
  createJob: { ...post, path: '/v1/jobs', body: api.CreateJobRequest, answer: api.JobInfo },
  job: { ...get, path: '/v1/jobs/:job', params: job, answer: api.JobInfo },
  addTasks: {
    method: 'POST',
    access: 'user',
    path: '/v1/jobs/:job/tasks',
    params: job,
    query: z.object({ replace: z.literal('true').optional() }),
    body: api.AddTasksRequest,
    received: api.ReceivedTasks,
    kept: ['tasks', '*', 'input'],
    answer: api.AddTasksResponse,
  },
  cancelTasks: {
    method: 'POST',
    access: 'user',
    path: '/v1/jobs/:job/tasks/cancel',
    params: job,
    body: api.CancelTasksRequest,
    answer: api.CancelTasksResponse,
  },
  taskProgress: {
    ...post,
    path: '/v1/jobs/:job/tasks/progress',
    params: job,
    body: api.ProgressRequest,
    answer: api.ProgressResponse,
  },
  closeJob: { ...post, path: '/v1/jobs/:job/close', params: job, answer: api.JobInfo },
  cancelJob: { ...post, path: '/v1/jobs/:job/cancel', params: job, answer: api.JobInfo },
  retryJob: { ...post, path: '/v1/jobs/:job/retry', params: job, answer: api.RetryResponse },
  /** Sent again, it would be told that there is no such job. */
  forgetJob: { ...post, path: '/v1/jobs/:job/forget', params: job, answer: api.JobInfo, repeatable: false },
  jobErrors: { ...get, path: '/v1/jobs/:job/errors', params: job, answer: api.JobErrors },
  taskLog: {
    ...get,
    path: '/v1/jobs/:job/log',
    params: job,
    query: z.object({ key }),
    answer: api.TaskLog,
  },
  results: {
    ...get,
    path: '/v1/jobs/:job/results',
    params: job,
    query: ResultsQuery,
    answer: api.ResultsResponse,
    exact: true,
  },
  rows: {
    ...get,
    path: '/v1/jobs/:job/rows',
    params: job,
    query: ResultsQuery.pick({ after: true, limit: true }),
    answer: api.RowsResponse,
    exact: true,
  },
  findRows: {
    ...post,
    path: '/v1/jobs/:job/rows',
    params: job,
    body: api.FindRowsRequest,
    answer: api.FindRowsResponse,
    exact: true,
  },
  explainJob: {
    ...get,
    path: '/v1/jobs/:job/explanation',
    params: job,
    query: z.object({ key: key.optional() }),
    answer: JobExplanation,
  },
} as const satisfies Record<string, Route>

/** About the factory, its sites and its pilots. */
const factoryRoutes = {
  status: { ...get, path: '/v1/status', answer: Status },
  /** With `accept: text/event-stream` it is a stream of them. */
  events: { ...get, path: '/v1/events', query: EventsQuery, answer: EventsResponse },
  metrics: { ...get, path: '/metrics', access: 'metrics', carries: 'text' },
  pilots: { ...get, path: '/v1/pilots', answer: PilotsResponse },
  openShell: {
    ...get,
    path: '/v1/pilots/:pilot/shell',
    params: z.object({ pilot: z.string().regex(/^p\d{1,15}$/) }),
    carries: 'channel',
  },
  explainSite: { ...get, path: '/v1/sites/:site/explanation', params: site, answer: SiteExplanation },
  orderSite: {
    ...post,
    path: '/v1/sites/:site/:order',
    params: site.extend({ order: SiteOrder }),
    answer: SiteStatus,
  },
  reload: { ...post, path: '/v1/reload', answer: api.ReloadResponse },
  keys: { ...get, path: '/v1/keys', answer: api.KeysResponse },
  /** Sent again, it would be told that there is a key of that name. */
  createKey: {
    ...post,
    path: '/v1/keys',
    body: api.CreateKeyRequest,
    answer: api.CreateKeyResponse,
    repeatable: false,
  },
  revokeKey: { ...post, path: '/v1/keys/:name/revoke', params: named, answer: api.KeyInfo },
  /** Sent again, it would be refused, since the file is there. */
  backup: {
    ...post,
    path: '/v1/backup',
    body: api.BackupRequest,
    answer: api.BackupResponse,
    repeatable: false,
  },
  /** Sent again, it could stop the next factory on this state folder. */
  stop: {
    ...post,
    path: '/v1/stop',
    body: api.StopRequest.prefault({}),
    answer: z.object({ stopping: z.literal(true) }),
    repeatable: false,
  },
} as const satisfies Record<string, Route>

/** What users' programs and the command line ask of the manager. */
export const userRoutes = { ...contextRoutes, ...jobRoutes, ...factoryRoutes }

/** What `factory dashboard` asks of the part that serves the dashboard. */
export const dashboardRoutes = {
  dashboardCode: {
    ...post,
    path: '/v1/dashboard/codes',
    body: LoginCodeRequest.prefault({}),
    answer: LoginCode,
  },
  endDashboardSessions: { ...post, path: '/v1/dashboard/end', answer: EndedSessions },
} as const satisfies Record<string, Route>
