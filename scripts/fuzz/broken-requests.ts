import { randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { limits } from '../../src/protocol/primitives.ts'
import { managerRoutes } from '../../src/protocol/routes/manager-routes.ts'
import { pathOf } from '../../src/protocol/routes/route.ts'
import type { Random } from '../support/random.ts'
import { mutated } from './mutate-json.ts'
import type { Known, Route } from './example-requests.ts'

/** A request that a manager must refuse. */
export interface Case {
  bytes: Buffer
  /** The client ends it midway, so there may be no client left to answer; or it asks for no answer. */
  unanswered?: boolean
  /** The sending side is closed behind it. */
  half?: boolean
}

interface Parts {
  method?: string
  path?: string
  headers?: Record<string, string | number>
  body?: Buffer | string
}

type Make = (route: Route, all: Route[], known: Known, random: Random) => Case | undefined

/** An HTTP request that is right but for what `parts` say. */
function request(route: Route, known: Known, parts: Parts = {}): Case {
  const valid = route.body === undefined ? undefined : JSON.stringify(route.body)
  const body = Buffer.from(parts.body ?? route.bytes ?? valid ?? '')
  const type = route.binary ? 'application/octet-stream' : 'application/json'
  const headers: Record<string, string | number> = {
    host: 'manager',
    authorization: `Bearer ${known[route.token]}`,
    ...(route.method !== 'GET' ? { 'content-type': type, 'content-length': body.length } : {}),
    ...route.headers,
    ...parts.headers,
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  const head = `${parts.method ?? route.method} ${parts.path ?? route.path} HTTP/1.1\r\n${lines.join('')}\r\n`
  return { bytes: Buffer.concat([Buffer.from(head, 'latin1'), body]) }
}

const badIds = ['-1', 'NaN', '1.5', '99999999', '1e99', '0x1', '', '%20', '%00', '%ff', '%zz', '%', '..', '.']
const otherTypes = [
  'text/plain',
  'text/xml',
  'application/x-www-form-urlencoded',
  'multipart/form-data',
  'x',
  ';;',
]

/** Ways to get a request wrong. One that does not apply to a route returns nothing. */
export const kinds: Record<string, Make> = {
  token(route, _all, known, random) {
    const others = Object.entries(known).flatMap(([name, value]) =>
      typeof value === 'string' && name !== route.token && !opensToo(route, name) ? [`Bearer ${value}`] : [],
    )
    const own = String(known[route.token])
    const authorization = random.pick([
      ...others,
      '',
      'Bearer',
      'Bearer null',
      `Basic ${own}`,
      `Bearer ${own.slice(0, -1)}`,
      `Bearer ${own}A`,
      `Bearer ${own.split('.')[0]}.${randomBytes(32).toString('base64url')}`,
      `Bearer ${'A'.repeat(random.between(1, 12_000))}`,
    ])
    return request(route, known, { headers: { authorization } })
  },

  method(route, all, known, random) {
    const method = random.pick([
      'GET',
      'POST',
      'PUT',
      'DELETE',
      'PATCH',
      'OPTIONS',
      'TRACE',
      'PROPFIND',
      'CONNECT',
      'get',
    ])
    if (all.some((other) => other.method === method && other.path === route.path)) return undefined
    return { ...request(route, known, { method }), unanswered: method === 'CONNECT' }
  },

  path(route, _all, known, random) {
    const segments = route.path.split('/')
    const named = segments.findIndex((segment) => /\d/.test(segment) && segment !== 'v1')
    if (route.named && named > 0 && random.chance(0.5)) segments[named] = random.pick(badIds)
    else segments.splice(random.between(1, segments.length), 0, random.pick([...badIds, 'x'.repeat(9_000)]))
    const path = segments.join('/')
    return path === route.path ? undefined : request(route, known, { path })
  },

  query(route, _all, known, random) {
    if (!route.badQueries) return undefined
    const body = route.method === 'POST' ? { body: 'xx' } : {}
    return request(route, known, { path: `${route.path}?${random.pick(route.badQueries)}`, ...body })
  },

  body(route, _all, known, random) {
    if (!route.schema) return undefined
    return request(route, known, { body: mutated(route.body as never, route.schema, random) })
  },

  notJson(route, _all, known, random) {
    if (!route.schema) return undefined
    const valid = JSON.stringify(route.body)
    const deep = random.between(limits.depth + 20, 100_000)
    const body = random.pick([
      () => randomBytes(random.between(1, 3_000)),
      () => valid.slice(0, random.between(1, valid.length - 1)),
      () => `${valid}${random.pick(['}', ',', 'x', valid])}`,
      () => valid.replaceAll('"', "'"),
      () =>
        Buffer.concat([
          Buffer.from(valid.slice(0, -1)),
          Buffer.from([0x2c, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]),
        ]),
      () => '{"a":'.repeat(deep),
      () => `${'['.repeat(deep)}${']'.repeat(deep)}`,
      () => `[${'[],'.repeat(limits.values)}[]]`,
      () => gzipSync(valid),
      () => Buffer.from(valid, 'utf16le'),
      () => '\0',
      () => 'NaN',
    ])
    return request(route, known, { body: random.pick([body])() })
  },

  bytes(route, _all, known, random) {
    const { bytes } = route
    if (!bytes) return undefined
    const body = random.pick([
      bytes.subarray(1),
      Buffer.concat([bytes, bytes]),
      randomBytes(bytes.length),
      randomBytes(random.between(1, 100_000)),
      Buffer.from(''),
      gzipSync(bytes),
    ])
    return request(route, known, { body })
  },

  form(route, _all, known, random) {
    if (!route.form) return undefined
    const part = (name: string, text: string) =>
      `--x\r\ncontent-disposition: form-data; name="${name}"${name === 'file' ? '; filename="f"' : ''}\r\n\r\n${text}\r\n`
    const file = part('file', '{"custom_id":"a"}')
    const [body, boundary] = random.pick<[string, string]>([
      ['', 'x'],
      ['--x--\r\n', 'x'],
      [`${part('purpose', 'batch')}--x--\r\n`, 'x'],
      [`${part('purpose', 'fine-tune')}${file}--x--\r\n`, 'x'],
      [`${part('purpose', 'b'.repeat(2_000))}${file}--x--\r\n`, 'x'],
      [part('purpose', 'batch') + file, 'x'],
      [`${part('purpose', 'batch')}${file.slice(0, 60)}`, 'x'],
      [`${part('purpose', 'batch')}${file}--x--\r\n`, 'y'],
      [`${part('purpose', 'batch')}${file}--x--\r\n`, ''],
      [`${Array.from({ length: 20 }, (_, i) => part(`field${i}`, 'x')).join('')}--x--\r\n`, 'x'],
      [randomBytes(random.between(1, 3_000)).toString('latin1'), 'x'],
    ])
    const type = `multipart/form-data${boundary === '' ? '' : `; boundary=${boundary}`}`
    return request(route, known, { headers: { 'content-type': type }, body: Buffer.from(body, 'latin1') })
  },

  type(route, _all, known, random) {
    if (!route.schema && !route.bytes) return undefined
    return request(route, known, { headers: { 'content-type': random.pick(otherTypes) } })
  },

  oversize(route, _all, known, random) {
    if (route.method === 'GET') return undefined
    const length = random.pick([
      (route.bytes ? limits.blob : limits.body) + 1,
      2 ** 40,
      '9'.repeat(15),
      '9'.repeat(40),
    ])
    return request(route, known, { headers: { 'content-length': length }, body: '{' })
  },

  http(_route, _all, _known, random) {
    const line = random.pick([
      () => randomBytes(random.between(1, 500)).toString('latin1'),
      () => 'GET / HTTP/9.9',
      () => 'GET  HTTP/1.1',
      () => 'GET / HTTP/1.1\r\nhost',
      () => 'GET / HTTP/1.1\r\n: x',
      () => `GET / HTTP/1.1\r\nx: ${'y'.repeat(20_000)}`,
      () => `GET /${'y'.repeat(20_000)} HTTP/1.1`,
      () => 'POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: -1',
      () => 'POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4',
      () => 'POST /v1/jobs HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 4',
      () => 'POST /v1/jobs HTTP/1.1\r\nhost: x\r\ntransfer-encoding: nonsense',
      () => 'PRI * HTTP/2.0',
      () => '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03',
    ])
    return { bytes: Buffer.from(`${line()}\r\n\r\n`, 'latin1'), half: true }
  },

  chunked(route, _all, known, random) {
    if (!route.schema && !route.bytes) return undefined
    const whole = '1\r\n{\r\n0\r\n\r\n'
    const chunk = random.pick([
      'zz\r\nxx\r\n',
      '-1\r\n',
      'ffffffffffffffffff\r\n',
      '5\r\nab',
      whole,
      '\0\0\r\n',
    ])
    const { bytes } = request(route, known, { body: chunk })
    const text = bytes.toString('latin1').replace(/content-length: \d+/, 'transfer-encoding: chunked')
    // Who ends the connection behind a whole request may miss the answer to it.
    return { bytes: Buffer.from(text, 'latin1'), half: chunk !== whole }
  },

  truncated(route, _all, known, random) {
    const { bytes } = request(route, known, route.schema ? {} : { path: `${route.path}/x` })
    return { bytes: bytes.subarray(0, random.between(1, bytes.length - 1)), half: true, unanswered: true }
  },

  unknown(route, _all, known) {
    const none = 99_999_999
    const { body } = route
    const change: Partial<Record<string, { path?: string; body?: object }>> = {
      createJob: { body: { ...body, context: 'no-such-context' } },
      addContext: { body: { path: '/proc/self/mem' } },
      '/v1/chat/completions': { body: { ...body, model: 'no-such-model' } },
      '/v1/responses': { body: { ...body, previous_response_id: 'resp_1' } },
      backup: { body: { file: '/proc/no-such-folder/backup' } },
      register: { body: { ...body, protocol: 99 } },
      addTasks: { path: pathOf(managerRoutes.addTasks, { params: { job: none } }) },
      exchange: { body: { ...body, seq: 0 } },
      sources: { body: { ...body, bundle: '1'.repeat(64) } },
    }
    const changed = change[route.name]
    if (!changed) return undefined
    const { path, body: wrong } = changed
    return request(route, known, { ...(path && { path }), ...(wrong && { body: JSON.stringify(wrong) }) })
  },
}

/** Contexts are open to every worker, and a route that names no worker to any that has a session. */
function opensToo(route: Route, name: string): boolean {
  return name === 'foreignSession' && route.token === 'session' && !route.path.includes('/workers/')
}
