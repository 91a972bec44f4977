import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { bareHost } from '../../common/plain/bare-host.ts'
import { openStore } from '../../bundle/store/store.ts'
import { duration } from '../../common/plain/quantity-text.ts'
import type { SiteConfig } from '../../factory/config/config.ts'
import { makeSite } from '../../factory/factory.ts'
import type { Job, Site } from '../../factory/sites/site.ts'
import {
  newSubmission,
  pilotLog,
  type Submission,
  submissionFiles,
  submissionsFolder,
  writeSubmission,
} from '../../factory/submissions/submission.ts'
import { openTransports } from '../../factory/transports/open-transports.ts'
import { parseJson } from '../../protocol/primitives.ts'
import { PROBE_LINE, ProbeMessage } from '../../protocol/probe.ts'
import { packRuntime } from '../../runtime/pack-runtime.ts'
import { type Finding, findingsOf } from '../policy/finding.ts'
import { judgeProbes } from '../policy/judge-probe.ts'
import { type Heard, startProbeServer } from './probe-server.ts'

export interface ProbeOptions {
  site: SiteConfig
  state: string
  /** Where the manager is, or would be. */
  boot: { managerUrl: string; caFile?: string }
  listen: { host: string; port: number }
  /** Whether a factory runs there: then the probes report to another port, and try that one. */
  isRunning: boolean
  tls: { cert: string; key: string } | undefined
  /** Longest a probe may wait in the queue, milliseconds. */
  waitMs: number
  signal: AbortSignal
  /** Hears what takes a while. */
  onDoing: (what: string) => void
}

/** Longest a command of the batch system may take, milliseconds. */
const COMMAND_MS = 60_000
const LOOK_MS = 1_000
/** Longest from the start of a job until its probe has reported, milliseconds: slow disks unpack the runtime, drivers hang. */
const REPORT_MS = 300_000
/** How long the second probe may come after the first one, milliseconds. */
const SECOND_MS = 30_000
/** How long probes may take to try each other, milliseconds. */
const TRIES_MS = 8_000
/** A probe that was not heard for so long, when it was told to leave, is gone, milliseconds. */
const SILENT_MS = 3_000
/** Beyond the grace that a site says, its probes are waited for so long, milliseconds. */
const BEYOND_GRACE_MS = 45_000
/** What of a log's end is read, bytes. */
const LOG_BYTES = 128 << 10

/**
 * Submits pilots at a site as the factory does, which report what their nodes are like instead of working, and takes them out of the
 * queue again, whatever happens.
 */
export async function* probeSite(options: ProbeOptions): AsyncGenerator<Finding> {
  const { site, onDoing } = options
  const { error, warning } = findingsOf('probe', site.name)
  if (site.relay !== undefined) {
    yield warning(
      'The site is not probed: its pilots reach the manager through a relay, which carries them to a factory only.',
      'What its nodes are like is not known.',
      `"factory start", and "factory explain ${site.name}" if its pilots do not come up`,
    )
    return
  }
  await using stack = new AsyncDisposableStack()
  try {
    const run = await submitProbes(options, stack)
    onDoing(`waiting for probes in the queue of ${site.name}`)
    yield* judgeProbes(site, await run.watch())
  } catch (thrown) {
    if (options.signal.aborted) throw options.signal.reason
    yield error(
      `No probe could be submitted: ${(thrown as Error).message}`,
      'Pilots would fare alike.',
      `the keys of sites.${site.name} in factory.yaml`,
    )
  }
}

async function submitProbes(options: ProbeOptions, stack: AsyncDisposableStack) {
  const { site, state, boot, isRunning, signal, onDoing } = options
  const log = pino({ level: 'silent' })
  const store = stack.use(await openStore({ folder: join(state, 'store'), log }))
  const onPacking = () => onDoing('packing what pilots boot from')
  const runtime = await packRuntime({ store, log, signal, onPacking })
  const factoryId = `doctor-${randomBytes(4).toString('hex')}`
  const pilots = Array.from({ length: Math.min(2, site.max) }, (_, index) => `probe${index + 1}`)
  const heard: Heard[] = []
  const server = stack.use(
    await startProbeServer({
      listen: { host: options.listen.host, port: isRunning ? 0 : options.listen.port },
      hostname: bareHost(new URL(boot.managerUrl).hostname),
      tls: options.tls,
      pilots,
      archives: [runtime, runtime.zstd],
      manager: isRunning ? boot.managerUrl : undefined,
      onHeard: (message) => heard.push(message),
    }),
  )
  const transports = stack.use(openTransports(state))
  const root = await mkdtemp(join(state, 'probe-'))
  stack.defer(() => rm(root, { recursive: true, force: true }))
  const batch = makeSite(site, factoryId, root, transports, () => {})
  const siteFolder = submissionsFolder(root, site.name)
  const limit = () => AbortSignal.timeout(COMMAND_MS)
  const seenFolder = await batch.files.folderFor(siteFolder, limit())
  const delivered = batch.sharesFiles ? await batch.files.deliver(runtime, signal) : runtime.path
  const submission = newSubmission(siteFolder, pilots, [], seenFolder)
  const bootFiles = {
    ...boot,
    ...{ managerUrl: server.url, runtime, program: 'probe' as const },
    ...(delivered !== runtime.path && { deliveredRuntime: delivered }),
  }
  const files = submissionFiles(submission, site, bootFiles, batch.render(submission))
  await writeSubmission(submission, files, server.tokens)
  await batch.files.copy(submission.record, submission.folder, limit())
  stack.defer(() => batch.files.remove(submission.folder, limit()))
  // Also for a submission whose answer was lost: its jobs are found in the queue.
  stack.defer(() => removeAll(batch))
  await batch.submit(submission, limit())
  return { watch: () => watchProbes(options, batch, submission, heard) }
}

/** What came of the probes of a site. */
export interface ProbeRun {
  pilots: string[]
  heard: Heard[]
  /** The end of each one's log, once it has ended. */
  logs: Map<string, string>
  /** The queue's last word on those that did not start. */
  waiting: { pilot: string; reason: string | undefined }[]
  waitedMs: number
  /** When they were told to go, by the doctor's clock; undefined if they had ended before. */
  toldAt: number | undefined
}

async function watchProbes(
  { site, waitMs, signal, onDoing }: ProbeOptions,
  batch: Site,
  submission: Submission,
  heard: Heard[],
): Promise<ProbeRun> {
  const { pilots } = submission
  const submittedAt = Date.now()
  const reported = () =>
    new Set(heard.flatMap(({ message }) => (message.kind === 'report' ? message.pilot : [])))
  const look = async () => {
    await sleep(LOOK_MS, undefined, { signal })
    return (await batch.list(AbortSignal.timeout(COMMAND_MS))).jobs.filter(({ state }) => state !== 'ended')
  }
  const logs = new Map<string, string>()
  let jobs: Job[]
  let startedAt: number | undefined
  let wait: string | undefined
  for (;;) {
    jobs = await look()
    const isUp = ({ state }: Job) => state === 'running'
    if (jobs.some(isUp)) startedAt ??= Date.now()
    const reason = jobs.find(({ state }) => state !== 'running')?.reason
    if (reason !== wait && startedAt === undefined)
      onDoing(`waiting in the queue of ${site.name}: ${(wait = reason)}`)
    const first = heard.find(({ message }) => message.kind === 'report')?.at
    if (reported().size === pilots.length) break
    if (first !== undefined && Date.now() - first > SECOND_MS) break
    // A job that the queue has not shown yet is not over.
    if (jobs.length === 0 && Date.now() - submittedAt > batch.lateness + 2 * LOOK_MS) break
    const patience = startedAt === undefined ? submittedAt + waitMs : startedAt + REPORT_MS
    if (Date.now() > patience) break
  }
  const waiting = jobs
    .filter(({ pilot }) => !reported().has(pilot))
    .map(({ pilot, reason }) => ({ pilot, reason }))
  const waitedMs = Date.now() - submittedAt
  if (reported().size > 0) await sleep(TRIES_MS, undefined, { signal })
  const toldAt = jobs.length > 0 ? Date.now() : undefined
  if (toldAt !== undefined) {
    onDoing(
      `the probes were told to leave: how long they are let is measured (${duration(site.grace * 1000)} expected)`,
    )
    await removeAll(batch)
    const end = toldAt + site.grace * 1000 + BEYOND_GRACE_MS
    const isHeard = () => heard.some(({ at }) => Date.now() - at < SILENT_MS)
    while (
      Date.now() < end &&
      (isHeard() ||
        (await batch.list(AbortSignal.timeout(COMMAND_MS))).jobs.some(({ state }) => state !== 'ended'))
    )
      await sleep(LOOK_MS, undefined, { signal })
  }
  for (const pilot of pilots) {
    const log = await batch.files
      .tail(pilotLog(submission, pilot), LOG_BYTES, AbortSignal.timeout(COMMAND_MS))
      .catch(() => '')
    logs.set(pilot, log)
    heard.push(...said(log, pilot, reported()))
  }
  return { pilots, heard, logs, waiting, waitedMs, toldAt }
}

/** What a probe's log has of what did not come by the network. */
function said(log: string, pilot: string, reported: ReadonlySet<string>): Heard[] {
  if (reported.has(pilot)) return []
  return log.split('\n').flatMap((line) => {
    if (!line.startsWith(PROBE_LINE)) return []
    const parsed = ProbeMessage.safeParse(parseJson(line.slice(PROBE_LINE.length)))
    return parsed.success && parsed.data.pilot === pilot ? [{ message: parsed.data, at: Date.now() }] : []
  })
}

async function removeAll(batch: Site): Promise<void> {
  const signal = AbortSignal.timeout(COMMAND_MS)
  const { jobs } = await batch.list(signal)
  const left = jobs.filter(({ state }) => state !== 'ended' && state !== 'ending')
  if (left.length > 0) await batch.remove(left, { unlessRunning: false, signal })
}
