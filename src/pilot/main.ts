import { findGpus } from './gpus/find-gpus.ts'
import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { flushCompileCache } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { type Logger, pino } from 'pino'
import { openStore, type Store } from '../bundle/store/store.ts'
import { PROTOCOL_VERSION } from '../protocol/primitives.ts'
import { stringifyExactly } from '../protocol/json/exact-numbers.ts'
import type { PilotEnvironment } from '../protocol/pilot-environment.ts'
import { JsonText } from '../protocol/json/json-text.ts'
import { workerRoutes } from '../protocol/routes/worker-routes.ts'
import type { RegisterRequest, RegisterResponse } from '../protocol/worker.ts'
import { createBlobCache } from './tasks/blob-cache.ts'
import { watchDevices } from './gpus/device-memory.ts'
import { managerOrigins, readEnvironment, readNamed } from './boot/environment.ts'
import { exitCodes, exitName, PilotError } from './exit-codes.ts'
import { fetchContexts } from './contexts/fetch-contexts.ts'
import { checkNode } from './boot/node-check.ts'
import { createManagerClient, type ManagerClient } from './uplink/manager-client.ts'
import { type PieceServer, startPieceServer } from './uplink/piece-server.ts'
import { planSlots, type SlotPlan } from './slots/slot-plan.ts'
import { meterEnergy } from './gpus/energy-meter.ts'
import { publicEnvironment } from './policy/public-environment.ts'
import { createWantedShells } from './shells/wanted-shells.ts'
import { SHELL } from '../protocol/channels/shell-frames.ts'
import { work } from './worker.ts'

/*
 * The worker's process, booted by pilot.sh in a batch job. It ends with one of the codes in exit-codes.ts.
 */

/**
 * When what was compiled is kept for the next worker of this node, milliseconds after registration: when it does not hold up
 * this one's start, and not only at the end, which may come without a warning.
 */
const SETTLED_MS = 5_000
/** Longest the setup of a library may take, milliseconds: large models on slow disks. */
const SETUP_LIMIT_MS = 900_000
/** Disk for large arguments and results that may be wanted again, bytes. */
const BLOBS_BYTES = 4 * 2 ** 30

async function run(env: PilotEnvironment, evicted: AbortSignal, log: Logger): Promise<void> {
  await checkNode(
    { scratch: env.GLEANER_SCRATCH, cache: env.GLEANER_CACHE },
    process.env['_CONDOR_SCRATCH_DIR'],
  )
  const { leftOut } = publicEnvironment(process.env)
  if (leftOut.length > 0)
    log.info(
      { variables: leftOut },
      'libraries do not get these variables, which look like secrets; setup can set them',
    )
  const token = await readNamed('GLEANER_TOKEN_FILE', env.GLEANER_TOKEN_FILE)
  const certificate = env.GLEANER_CA_FILE && (await readNamed('GLEANER_CA_FILE', env.GLEANER_CA_FILE))
  const client = createManagerClient({
    origins: managerOrigins(env),
    certificate,
    patienceMs: env.GLEANER_PATIENCE * 1000,
    log,
  })
  await using cleanup = new AsyncDisposableStack()
  cleanup.defer(() => client.close())
  const store = cleanup.use(
    await openStore({ folder: path.join(env.GLEANER_CACHE, 'bundles'), evict: true, log }),
  )
  const pieces = await serveNeighbours(store, client, log)
  if (pieces) cleanup.use(pieces)
  const found = await findGpus(env, log)
  const slots = planSlots(env, found)

  client.authorise(token)
  log.info({ manager: client.origin }, 'registers')
  const terms = await register(client, describeWorker(env, slots, pieces?.url), evicted)
  const { worker } = terms
  client.authorise(terms.session)
  pieces?.trust(terms.ticketKey, terms.clock)
  log.info({ worker, slots: slots.map(({ slot }) => slot) }, 'registered')
  setTimeout(flushCompileCache, SETTLED_MS).unref()

  const params = { worker }
  const blobPlace = (sha256: string) => ({ params: { worker, sha256 } })
  const blobs = createBlobCache({
    folder: path.join(env.GLEANER_SCRATCH, 'blobs'),
    maxBytes: BLOBS_BYTES,
    get: (sha256, take) => client.get(workerRoutes.workerBlob, blobPlace(sha256), take),
    put: ({ sha256, bytes }, open) => client.put(workerRoutes.putWorkerBlob, blobPlace(sha256), bytes, open),
  })
  const shells = cleanup.use(
    createWantedShells({
      allowed: env.GLEANER_SHELL === 'yes',
      dial: (shell) => client.upgrade(workerRoutes.joinShell, { params: { worker, shell } }, SHELL),
      folder: env.GLEANER_SCRATCH,
      log,
    }),
  )
  const reason = await work({
    terms,
    shells,
    blobs,
    slots,
    energy: cleanup.use(meterEnergy(found.gpus)),
    devices: watchDevices(found.gpus[0]?.vendor),
    evicted,
    log,
    scratch: env.GLEANER_SCRATCH,
    graceMs: env.GLEANER_GRACE * 1000,
    lastMoment: lastMoment(env),
    setupLimitMs: SETUP_LIMIT_MS,
    fetch: fetchContexts({ client, store, worker, shared: env.GLEANER_SHARED, mode: terms.contextMode, log }),
    send: (body, signal) => client.call(workerRoutes.exchange, { params, body, waitMs: body.waitMs, signal }),
    sendParts: (request, signal) =>
      client.call(workerRoutes.parts, { params, body: new JsonText(stringifyExactly(request)!), signal }),
  })
  log.info({ reason }, 'left')
}

/** A node whose network lets no connection in still works, only alone. */
async function serveNeighbours(
  store: Store,
  client: ManagerClient,
  log: Logger,
): Promise<PieceServer | undefined> {
  try {
    return await startPieceServer(store, client.origin, log)
  } catch (error) {
    log.warn({ err: error }, 'peers cannot be served from this node')
    return undefined
  }
}

function describeWorker(env: PilotEnvironment, slots: SlotPlan[], pieces?: string): RegisterRequest {
  const startedAt = Math.round(env.GLEANER_STARTED * 1000)
  return {
    protocol: PROTOCOL_VERSION,
    nonce: randomBytes(32).toString('base64url'),
    // What is no host name would be refused.
    node:
      (env.GLEANER_NODE ?? os.hostname()).replace(/^[^A-Za-z0-9_]+|[^A-Za-z0-9._-]/g, '').slice(0, 255) ||
      'unnamed',
    platform: `${os.platform()}-${os.arch()} ${os.release()}`.slice(0, 100),
    ...(env.GLEANER_JOB_ID !== undefined && { jobId: env.GLEANER_JOB_ID }),
    restarts: env.GLEANER_RESTARTS,
    slots: slots.map(({ slot }) => slot),
    ...(env.GLEANER_DEADLINE !== undefined && { deadline: Math.round(env.GLEANER_DEADLINE * 1000) }),
    clock: Date.now(),
    ...(pieces !== undefined && { pieces }),
    startedAt,
    bootedAt: Math.round(performance.timeOrigin),
  }
}

async function register(
  client: ManagerClient,
  request: RegisterRequest,
  signal: AbortSignal,
): Promise<RegisterResponse> {
  return client.call(workerRoutes.register, { body: request, conflictIsFinal: true, signal })
}

/** When the worker must stop, on the monotonic clock: the wall clock may be set while it runs. */
function lastMoment({ GLEANER_DEADLINE, GLEANER_GRACE }: PilotEnvironment): number | undefined {
  if (GLEANER_DEADLINE === undefined) return undefined
  return performance.now() + (GLEANER_DEADLINE - GLEANER_GRACE) * 1000 - Date.now()
}

/** Says why in the words of pilot.sh, which the factory looks for at the end of the log. */
function sayLastWords(node: string, error: PilotError): void {
  const { code, message } = error
  const line = `gleaner: worker on ${node}: error ${exitCodes[code]} ${exitName(code)}: ${message.replaceAll('\n', ' ')}\n`
  process.stderr.write(line)
}

async function main(): Promise<number> {
  const log = pino({ base: { pid: process.pid } }, pino.destination({ fd: 2, sync: true }))
  const eviction = new AbortController()
  // Told twice, it is leaving already.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.on(signal, () => eviction.abort(new Error(`evicted by ${signal}`)))
  }
  let env: PilotEnvironment | undefined
  try {
    env = readEnvironment(process.env)
    await run(env, eviction.signal, log)
    return 0
  } catch (error) {
    if (eviction.signal.aborted && error === eviction.signal.reason) return 0
    const known = error instanceof PilotError
    if (!known) log.fatal({ err: error }, 'defect')
    const why = known ? error : new PilotError('GLEANER_INTERNAL', (error as Error).message)
    sayLastWords(env?.GLEANER_NODE ?? os.hostname(), why)
    return exitCodes[why.code]
  } finally {
    if (env) await rm(env.GLEANER_SCRATCH, { recursive: true, force: true }).catch(() => {})
  }
}

process.exit(await main())
