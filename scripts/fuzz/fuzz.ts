import { generateKeyPairSync } from 'node:crypto'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { request } from 'undici'
import { refOf } from '../../src/blobs/blob-folder.ts'
import { signTicket } from '../../src/bundle/format/ticket.ts'
import type { JobInfo } from '../../src/protocol/client.ts'
import type { ContextSpec } from '../../src/protocol/contexts/context.ts'
import type { SourcesResponse } from '../../src/protocol/piece-sources.ts'
import { ask, HttpWorker, registration } from '../../test/support/manager.ts'
import { Random } from '../support/random.ts'
import { ManagerProcess } from '../support/manager-process.ts'
import type { Memory } from '../support/memory.ts'
import { kinds } from './broken-requests.ts'
import { BLOB, type Known, type Route, routes } from './example-requests.ts'
import { Wire } from './raw-connection.ts'

export interface FuzzOptions {
  /** State folder with a context named `ctx`. */
  folder: string
  requests: number
  seed: number
  onProgress?: (requests: number, memory: Memory) => void
}

export interface FuzzReport {
  requests: number
  /** Requests by kind, and by what became of them. */
  byKind: Record<string, number>
  byFate: Record<string, number>
  /** Clients that sent slowly, and the longest that one was put up with, milliseconds. */
  slow: number
  slowestCutMs: number
  before: Memory
  after: Memory
  problems: string[]
}

const CONNECTIONS = 12
/** Part of the requests after which the memory is taken for the first time. */
const WARM_UP = 0.3
const SLOW = 20
/** Growth of live objects that counts as none: caches that are filling up, bytes. */
const HEAP_SLACK = 4 << 20
/** The sequence number of the worker's last request: those below are stale. */
const SEQ = 1_000_000

/** Sends malformed requests to every route of a manager: each must be refused, and nothing of it remain. */
export async function fuzz({ folder, requests, seed, onProgress }: FuzzOptions): Promise<FuzzReport> {
  const random = new Random(seed)
  // The worker whose session is abused says nothing by itself, and must not be given up for it.
  await using manager = new ManagerProcess(folder, {
    scheduler: { workerTimeoutMs: 3_600_000, suspectMs: 3_600_000 },
    all: true,
  })
  manager.start()
  const { url, token } = await manager.ready()
  const port = Number(new URL(url).port)
  const known = await makeKnown(manager, url, token)
  const all = routes(known)
  const report = { byKind: {}, byFate: {}, problems: [] as string[] }
  const slow = Array.from({ length: SLOW }, (_, i) => sendSlowly(port, i))

  let before: Memory | undefined
  let sent = 0
  const work = async () => {
    using wire = new Wire(port)
    while (sent < requests) {
      sent++
      if (sent === Math.ceil(requests * WARM_UP)) before = await manager.memory()
      if (sent % Math.ceil(requests / 10) === 0) onProgress?.(sent, await manager.memory())
      await sendOne(wire, all, known, random, report)
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, work))
  const cuts = await Promise.all(slow)
  const after = await manager.memory()
  if (after.live > before!.live + HEAP_SLACK) report.problems.push('the manager’s memory grew')
  const strange = cuts.filter(({ answer }) => answer !== '' && !answer.startsWith('HTTP/1.1 408'))
  if (strange.length > 0) report.problems.push(`a slow client was answered with ${strange[0]!.answer}`)
  report.problems.push(...(await checkHealth(manager, known)))
  const slowestCutMs = Math.round(Math.max(...cuts.map(({ ms }) => ms)))
  return { requests, ...report, slow: SLOW, slowestCutMs, before: before!, after }
}

async function sendOne(
  wire: Wire,
  all: Route[],
  known: Known,
  random: Random,
  report: Pick<FuzzReport, 'byKind' | 'byFate' | 'problems'>,
): Promise<void> {
  for (;;) {
    const kind = random.pick(Object.keys(kinds))
    const route = random.pick(all)
    const made = kinds[kind]!(route, all, known, random)
    if (!made) continue
    const fate = await wire.send(made.bytes, made.half)
    report.byKind[kind] = (report.byKind[kind] ?? 0) + 1
    report.byFate[fate] = (report.byFate[fate] ?? 0) + 1
    const refused =
      typeof fate === 'number' ? fate >= 400 && fate < 500 : fate === 'closed' && made.unanswered
    if (!refused && report.problems.length < 20) {
      const head = made.bytes.toString('latin1', 0, 600)
      report.problems.push(`${kind} on ${route.method} ${route.path}: ${fate}\n${head}`)
    }
    return
  }
}

/** Registers what valid requests need: a job, two workers, a bundle and tickets. */
async function makeKnown(manager: ManagerProcess, url: string, user: string): Promise<Known> {
  const app = join(manager.folder, 'app')
  await mkdir(app, { recursive: true })
  await writeFile(join(app, 'a.js'), 'export const f = (x) => x\n'.repeat(10_000))
  const text =
    'name: app\nlibrary: module\nbundles: { app: . }\nsetup: { bundle: app, file: a.js }\nfunctions: { f: { export: f } }\n'
  await writeFile(join(app, 'context.yaml'), text)
  const { body: spec } = await ask<ContextSpec>(url, user, '/v1/contexts', { path: app })
  const bundle = spec.bundles.app!
  const { body: model } = await ask<ContextSpec>(url, user, '/v1/contexts', {
    path: await writeModel(manager.folder),
  })
  const { body: job } = await ask<JobInfo>(url, user, '/v1/jobs', { name: 'fuzzed', context: 'ctx' })
  await request(`${url}/v1/blobs/${refOf(BLOB).sha256}`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${user}`, 'content-type': 'application/octet-stream' },
    body: BLOB,
  })
  const [first, second, unused] = await manager.pilots(3)
  const worker = await HttpWorker.join(url, first!.token, registration())
  const foreign = await HttpWorker.join(url, second!.token, registration())
  await worker.exchange({ seq: SEQ })
  const path = `/v1/workers/${worker.id}/sources`
  const { body } = await ask<SourcesResponse>(url, worker.session, path, { bundle, faults: [] })
  const { ticket } = body.sources[0]!
  return {
    user,
    pilot: unused!.token,
    worker: worker.id,
    session: worker.session,
    foreignSession: foreign.session,
    job: job.id,
    context: spec.id,
    bundle,
    model: model.name,
    ticket,
    foreignTicket: signTicket(generateKeyPairSync('ed25519').privateKey, {
      bundle,
      notAfter: Date.now() + 3_600_000,
    }),
  }
}

const MODEL = fileURLToPath(new URL('../../test/fixtures/models/grouped-query', import.meta.url))

/** Describes a context that generates texts. Nothing runs it: what is sent to it must be refused before. */
async function writeModel(folder: string): Promise<string> {
  const path = join(folder, 'model')
  await mkdir(path, { recursive: true })
  const text = `name: model\nlibrary: causal-lm\nbundles: { model: ${MODEL} }\nsetup: { model: model }\nfunctions: { generate: {} }\n`
  await writeFile(join(path, 'context.yaml'), text)
  return path
}

/** Sends the head of a request a byte at a time, without end. */
async function sendSlowly(port: number, number: number): Promise<{ ms: number; answer: string }> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  const startedAt = performance.now()
  let answer = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => (answer += chunk))
  const dribble = setInterval(() => socket.write(number % 2 === 0 ? 'G' : 'x: y\r\n'), 300)
  if (number % 2 === 1) socket.write('GET / HTTP/1.1\r\n')
  // The reset that an answer in the middle of a request brings about is an end too, and may take the answer along.
  await new Promise((resolve) => socket.once('close', resolve))
  clearInterval(dribble)
  return { ms: performance.now() - startedAt, answer: number % 2 === 0 ? '' : answer }
}

/** Whether the manager still works, also after a restart on what it has written. */
async function checkHealth(manager: ManagerProcess, known: Known): Promise<string[]> {
  await manager.kill('SIGTERM')
  const blobs = await readdir(join(manager.folder, 'blobs'))
  const files = await readdir(join(manager.folder, 'openai', 'files'))
  if (files.length !== 0) return [`uploads that were refused have left ${files.join(', ')}`]
  if (blobs.length !== 1) return [`${blobs.length - 1} blobs were left that were never put`]
  manager.start()
  const { url, token } = await manager.ready()
  const tasks = Array.from({ length: 100 }, (_, i) => ({ key: `valid${i}`, input: i }))
  const added = await ask(url, token, `/v1/jobs/${known.job}/tasks`, { tasks })
  if (added.status !== 200) return [`valid tasks were answered with ${added.status}`]
  const worker = await HttpWorker.join(url, (await manager.pilots(1))[0]!.token, registration())
  const ran = await worker.workUntilIdle()
  await worker.die()
  return ran === 100 ? [] : [`${ran} tasks ran of 100`]
}
