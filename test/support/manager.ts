import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach } from 'node:test'
import { pino } from 'pino'
import { Agent, request } from 'undici'
import { openStore } from '../../src/bundle/store/store.ts'
import { addContext } from '../../src/manager/ledger/context-records.ts'
import { Ledger } from '../../src/manager/ledger/ledger.ts'
import { type Manager, type ManagerOptions, startManager } from '../../src/manager/manager.ts'
import type { ContextSpec } from '../../src/protocol/contexts/context.ts'
import { JsonText, textOf } from '../../src/protocol/json/json-text.ts'
import { PROTOCOL_VERSION } from '../../src/protocol/primitives.ts'
import { parseExactly } from '../../src/protocol/json/exact-numbers.ts'
import type { ExchangeRequest, ExchangeResponse, RegisterRequest } from '../../src/protocol/worker.ts'
import { readFileSync } from 'node:fs'

const log = pino({ level: process.env.TEST_LOG ?? 'silent' })

/** A context that needs no files: for tests in which workers are played by the test. */
export const CONTEXT: ContextSpec = {
  id: 'c'.repeat(64),
  name: 'ctx',
  bundles: {},
  spec: {
    library: 'module',
    setup: { bundle: 'app', file: 'a.js', args: [] },
    functions: { f: { export: 'f' } },
  },
}

/** A state folder with {@link CONTEXT} in its ledger. */
export async function makeState(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-manager-'))
  const ledger = new Ledger(join(folder, 'ledger.db'), log)
  await addContext(ledger, CONTEXT, 1)
  await ledger.close()
  return folder
}

/** A real manager on a state folder; its runtime is a small file. */
export async function startOn(
  stateFolder: string,
  options: Partial<ManagerOptions> = {},
): Promise<Manager & { token: string }> {
  const path = join(stateFolder, 'runtime.tar.gz')
  const bytes = Buffer.from('not really a runtime')
  await writeFile(path, bytes)
  const manager = await startManager({
    stateFolder,
    listen: { host: '127.0.0.1', port: 0 },
    store: await openStore({ folder: join(stateFolder, 'store'), log }),
    runtime: { path, sha256: createHash('sha256').update(bytes).digest('hex'), bytes: bytes.length },
    version: '0.0.0',
    log,
    onStop: () => undefined,
    ...options,
  })
  const endpoint = JSON.parse(readFileSync(join(stateFolder, 'endpoint.json'), 'utf8')) as { token: string }
  return { ...manager, token: endpoint.token }
}

export async function removeState(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true })
}

export interface Answer<T = unknown> {
  status: number
  body: T
}

/** Registers the context that the folder describes. */
export async function registerContext(
  { url, token }: { url: string; token: string },
  path: string,
): Promise<ContextSpec> {
  const { body } = await ask<ContextSpec>(url, token, '/v1/contexts', { path })
  return body
}

/** One HTTP request with a JSON answer. */
export async function ask<T = { error: { code: string; message: string } }>(
  url: string,
  token: string,
  path: string,
  body?: unknown,
  dispatcher?: Agent,
): Promise<Answer<T>> {
  const response = await request(url + path, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: body === undefined ? null : textOf(body),
    ...(dispatcher ? { dispatcher } : {}),
  })
  return { status: response.statusCode, body: parseExactly(await response.body.text()) as T }
}

/** A worker played by the test: it speaks the real protocol over a connection of its own. */
export class HttpWorker {
  readonly url: string
  readonly id: string
  readonly session: string
  readonly agent = new Agent({ connections: 1, keepAliveTimeout: 600_000 })
  seq = 0

  private constructor(url: string, registered: { worker: string; session: string }) {
    this.url = url
    this.id = registered.worker
    this.session = registered.session
  }

  /** Registers with a new pilot's token, or the one given. */
  static register(manager: Manager, token?: string, restarts = 0): Promise<HttpWorker> {
    const pilotToken = token ?? manager.registry.create('test', 1)[0]!.token
    return HttpWorker.join(manager.url, pilotToken, registration(restarts))
  }

  static async join(url: string, token: string, request: RegisterRequest): Promise<HttpWorker> {
    const answer = await ask<{ worker: string; session: string }>(url, token, '/v1/workers', request)
    if (answer.status !== 200) throw new Error(JSON.stringify(answer.body))
    return new HttpWorker(url, answer.body)
  }

  exchange(fields: Partial<ExchangeRequest> & { room?: number } = {}): Promise<Answer<ExchangeResponse>> {
    const { room = 0, seq = this.seq, ...rest } = fields
    this.seq = Math.max(this.seq, seq + 1)
    const body: ExchangeRequest = {
      seq,
      results: [],
      leases: [],
      contexts: [{ context: CONTEXT.id, level: 'memory', attempts: 1 }],
      want: room > 0 ? [{ context: CONTEXT.id, tasks: room }] : [],
      rate: 10,
      waitMs: 0,
      ...rest,
    }
    return ask(this.url, this.session, `/v1/workers/${this.id}/exchange`, body, this.agent)
  }

  /** The same with fields as JSON text in place of others. */
  exchangeText(fields: string): Promise<Answer<ExchangeResponse>> {
    const body = `{"seq":${this.seq++},"results":[],"leases":[],"contexts":[],"want":[],"rate":1,"waitMs":0,${fields}}`
    return ask(this.url, this.session, `/v1/workers/${this.id}/exchange`, new JsonText(body), this.agent)
  }

  /** Runs what it is given until there is nothing left; returns how many tasks that were. */
  async workUntilIdle(room = 100, ranMore: (tasks: number) => void = () => {}): Promise<number> {
    let ran = 0
    let results: ExchangeRequest['results'] = []
    for (;;) {
      const { body } = await this.exchange({ room, results })
      results = body.leases.flatMap(({ lease, tasks }) =>
        tasks.map(({ task, input }) => ({
          task,
          lease,
          outcome: { status: 'done' as const, value: input },
          ms: 1,
        })),
      )
      if (results.length === 0) return ran
      ran += results.length
      ranMore(results.length)
    }
  }

  /** Its process is gone: the connection breaks. */
  die(): Promise<void> {
    return this.agent.destroy()
  }
}

export function registration(restarts = 0): RegisterRequest {
  return {
    protocol: PROTOCOL_VERSION,
    nonce: randomBytes(32).toString('base64url'),
    node: 'node1',
    platform: 'linux-x64',
    restarts,
    slots: [{ device: 'cpu', cpus: 1, memory: 1 << 30 }],
    clock: Date.now(),
    startedAt: Date.now(),
    bootedAt: Date.now(),
  }
}

/**
 * Gives each test of a file a state folder and a manager on it, and takes them away again. A test that closes its manager
 * puts the next one in its place.
 */
export function managerForEachTest(): { folder: string; manager: Manager & { token: string } } {
  const here = {} as ReturnType<typeof managerForEachTest>
  beforeEach(async () => {
    here.folder = await makeState()
    here.manager = await startOn(here.folder)
  })
  afterEach(async () => {
    await here.manager.close()
    await removeState(here.folder)
  })
  return here
}
