import type { ContextSpec, LibrarySpec } from '../protocol/contexts/context.ts'
import { ApiFailure } from './error-bodies.ts'

/** What a request may ask of a model. */
export const ENDPOINTS = ['/v1/chat/completions', '/v1/completions', '/v1/embeddings'] as const
export type Endpoint = (typeof ENDPOINTS)[number]

/** The names by which functions of modules say that they answer an endpoint. */
const NAMES: Record<Endpoint, string> = {
  '/v1/chat/completions': 'chat',
  '/v1/completions': 'complete',
  '/v1/embeddings': 'embed',
}

export interface EndpointFunction {
  function: string
  /** `engine`: inputs and values are the engine's own. `request`: it takes the request, and gives the answer, as they are. */
  speaks: 'engine' | 'request'
  /** Whether its answers can be read as they grow. */
  streams: boolean
}

/**
 * The function of a context that answers requests of an endpoint: of a server, one that passes the path on unchanged; of the
 * engine, one without a template of its own; of a module, the one that is called `chat`, `complete` or `embed`.
 *
 * @throws {ApiFailure} 404 that says what is missing
 */
export function functionFor({ name, spec }: ContextSpec, endpoint: Endpoint): EndpointFunction {
  const found = Object.keys(spec.functions).find((each) => answers(spec, each, endpoint))
  if (found !== undefined)
    return {
      function: found,
      speaks: spec.library === 'causal-lm' ? 'engine' : 'request',
      streams: spec.library === 'causal-lm' || spec.library === 'server',
    }
  throw new ApiFailure(404, `model "${name}" does not answer ${endpoint}: ${remedy(spec, endpoint)}`, {
    param: 'model',
    code: 'model_not_found',
  })
}

/** Whether a context answers anything of the API. */
export function isModel({ spec }: ContextSpec): boolean {
  return ENDPOINTS.some((endpoint) =>
    Object.keys(spec.functions).some((name) => answers(spec, name, endpoint)),
  )
}

function answers(spec: LibrarySpec, name: string, endpoint: Endpoint): boolean {
  if (spec.library === 'causal-lm') {
    const fn = spec.functions[name]!
    if (endpoint === '/v1/embeddings') return fn.task === 'embed'
    if (fn.task !== undefined && fn.task !== 'generate') return false
    return fn.messages === undefined && fn.prompt === undefined && fn.choices === undefined
  }
  if (spec.library === 'server') {
    const { method, path, body, result } = spec.functions[name]!
    return method === 'POST' && path === endpoint && body === undefined && result === undefined
  }
  return name === NAMES[endpoint]
}

function remedy(spec: LibrarySpec, endpoint: Endpoint): string {
  const name = NAMES[endpoint]
  if (spec.library === 'server')
    return `give its context.yaml a function that passes it on, such as ${name}: { path: ${endpoint} }`
  if (spec.library !== 'causal-lm') return `it has no function called ${name}`
  return endpoint === '/v1/embeddings'
    ? `give its context.yaml a function such as ${name}: { task: embed }`
    : `give its context.yaml a function without a prompt of its own, such as ${name}: {}`
}
