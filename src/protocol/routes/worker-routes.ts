import { z } from 'zod'
import { ShellId } from '../channels/shell-frames.ts'
import { ContextSpec } from '../contexts/context.ts'
import { limits, Sha256 } from '../primitives.ts'
import { SourcesRequest, SourcesResponse } from '../piece-sources.ts'
import {
  ExchangeRequest,
  ExchangeResponse,
  PartsRequest,
  PartsResponse,
  ReceivedExchange,
  ReceivedParts,
  RegisterRequest,
  RegisterResponse,
  WorkerId,
} from '../worker.ts'
import type { Route } from './route.ts'

const params = z.object({ worker: WorkerId })
const blob = params.extend({ sha256: Sha256 })

/** What pilots and their workers ask of the manager. */
export const workerRoutes = {
  runtime: {
    method: 'GET',
    path: '/v1/runtime/:sha256',
    access: 'pilot',
    params: z.object({ sha256: Sha256 }),
    carries: 'bytes',
  },
  register: {
    method: 'POST',
    path: '/v1/workers',
    access: 'pilot',
    body: RegisterRequest,
    bodyLimit: limits.smallBody,
    answer: RegisterResponse,
  },
  exchange: {
    method: 'POST',
    path: '/v1/workers/:worker/exchange',
    access: 'ownWorker',
    params,
    body: ExchangeRequest,
    received: ReceivedExchange,
    kept: ['results', '*', 'outcome', 'value'],
    bodyLimit: limits.exchange,
    answer: ExchangeResponse,
  },
  parts: {
    method: 'POST',
    path: '/v1/workers/:worker/parts',
    access: 'ownWorker',
    params,
    body: PartsRequest,
    received: ReceivedParts,
    kept: ['parts', '*', 'part'],
    bodyLimit: limits.exchange,
    answer: PartsResponse,
  },
  sources: {
    method: 'POST',
    path: '/v1/workers/:worker/sources',
    access: 'ownWorker',
    params,
    body: SourcesRequest,
    bodyLimit: limits.smallBody,
    answer: SourcesResponse,
  },
  context: {
    method: 'GET',
    path: '/v1/contexts/:context',
    access: 'anyWorker',
    params: z.object({ context: Sha256 }),
    answer: ContextSpec,
  },
  workerBlob: {
    method: 'GET',
    path: '/v1/workers/:worker/blobs/:sha256',
    access: 'ownWorker',
    params: blob,
    carries: 'bytes',
  },
  putWorkerBlob: {
    method: 'PUT',
    path: '/v1/workers/:worker/blobs/:sha256',
    access: 'ownWorker',
    params: blob,
    carries: 'bytes',
  },
  joinShell: {
    method: 'GET',
    path: '/v1/workers/:worker/shells/:shell',
    access: 'ownWorker',
    params: params.extend({ shell: ShellId }),
    carries: 'channel',
  },
} as const satisfies Record<string, Route>
