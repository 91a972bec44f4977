import PQueue from 'p-queue'
import type { Logger } from 'pino'
import {
  type Decision,
  type Health,
  type PilotView,
  HEALTHY,
  decide,
  failed,
  succeeded,
} from '../core/scaling.ts'
import type { SiteStatus } from '../protocol/client.ts'
import { alarm } from './alarm.ts'
import type { SiteConfig } from './config.ts'
import { USELESS, explainEnding, tail } from './ending.ts'
import { nodeRecords } from './nodes.ts'
import { reconcile, type Reconciled } from './reconcile.ts'
import type { PilotRecord, PilotRegistry } from '../core/registry.ts'
import { type Job, type Site, SubmitRefused } from './sites/site.ts'
import {
  type Boot,
  type Submission,
  newSubmission,
  pilotLog,
  readSubmissions,
  removeSubmission,
  submissionFiles,
  writeSubmission,
} from './submission.ts'

/** Folders of submissions whose pilots have all ended that are kept for their logs. */
const KEPT_SUBMISSIONS = 20
/** Longest a command of the batch system may take, milliseconds. */
const COMMAND_LIMIT = 60_000

export type SiteLoop = {
  status(): SiteStatus
  /** Looks at the queue soon, because something has changed. */
  wake(): void
  /**
   * Ends the site's pilots and resolves once its queue is empty.
   * @param drain let them finish the work that is queued first.
   */
  stop(options: { drain: boolean }): Promise<void>
}

export type SiteLoopOptions = {
  config: SiteConfig
  /** Makes the site; `onChange` tells the loop that its queue has changed. */
  site: (onChange: () => void) => Site
  siteFolder: string
  registry: PilotRegistry
  boot: Boot
  log: Logger
}

/** Keeps one site's queue as its policy wants it, from now until it is stopped. */
export function startSiteLoop({
  config,
  site: makeSite,
  siteFolder,
  registry,
  boot,
  log,
}: SiteLoopOptions): SiteLoop {
  const bell = alarm()
  const site = makeSite(bell.ring)
  const nodes = nodeRecords()
  const submissions = new Map<string, Submission>()
  /** Each pilot's worker when it was last seen: the ledger forgets one that has left. */
  const workers = new Map<string, PilotRecord['worker']>()
  /** Pilots that were asked to leave: that they end says nothing about the site. */
  const asked = new Set<string>()
  // Looking and submitting take turns, so that each listing shows every submission made before it.
  const turns = new PQueue({ concurrency: 1 })
  const submitting = new PQueue({
    concurrency: 1,
    interval: 60_000,
    intervalCap: config.submitRate,
    strict: true,
  })

  let health: Health = HEALTHY
  let pilots: PilotView[] = []
  let jobs: Job[] = []
  let decision: Decision = { wanted: 0, submit: 0, remove: [], drain: [] }
  let avoidNodes: string[] = []
  let trouble: string | undefined
  let lastWork = 0
  let stopping: { drain: boolean } | undefined

  const limit = () => AbortSignal.timeout(COMMAND_LIMIT)
  const named = (names: string[]) => jobs.filter((job) => names.includes(job.pilot))
  const removeNow = (gone: Job[], unlessRunning: boolean) =>
    gone.length === 0 ? Promise.resolve() : site.remove(gone, { unlessRunning, signal: limit() })

  /** Looks at the queue and does what it calls for, but for submitting. */
  async function look(): Promise<void> {
    const listedAt = Date.now()
    const last = jobs
    jobs = await site.list(limit())
    const records = registry.list(config.name)
    const found = reconcile(jobs, records, pilots, listedAt, site.lateness)
    pilots = found.pilots
    if (found.adopted.length > 0) {
      log.info({ pilots: found.adopted }, 'found pilots whose submission was not recorded')
      registry.submitted(found.adopted)
    }
    for (const record of records) learnFrom(record, listedAt)
    await bury(found.gone, last, listedAt)
    await removeNow(found.orphans, false)
    await forgetSubmissions()

    if (hasWork()) lastWork = listedAt
    decision = decideNow()
    avoidNodes = nodes.avoid(listedAt)
    if (stopping && !(stopping.drain && hasWork())) return
    const surplus = named(decision.remove)
    for (const { pilot, state } of surplus) if (state === 'pending') asked.add(pilot)
    await removeNow(surplus, true)
    decision.drain.forEach(askToLeave)
    for (const { pilot, worker } of records)
      if (worker?.state === 'active' && avoidNodes.includes(worker.node)) askToLeave(pilot)
  }

  function askToLeave(pilot: string) {
    asked.add(pilot)
    registry.drain(pilot)
  }

  /** What a pilot's worker does tells of its site and of its node. */
  function learnFrom(record: PilotRecord, now: number) {
    const { pilot, registeredAt, worker } = record
    if (worker) workers.set(pilot, worker)
    nodes.working(record, now)
    if (registeredAt !== undefined && (worker?.tasksDone || now - registeredAt > USELESS))
      health = succeeded(health, { registeredAt })
  }

  /** @param last what the queue showed when these may still have been in it. */
  async function bury(gone: Reconciled['gone'], last: Job[], now: number) {
    const endings = gone.map(async ({ record, job }) => {
      const submission = submissions.get(record.pilot)
      const text = submission ? await tail(pilotLog(submission, record.pilot)) : ''
      const seen = job ?? last.find(({ pilot }) => pilot === record.pilot)
      const worker = record.worker ?? workers.get(record.pilot)
      const known = worker ? { ...record, worker } : record
      return { record, ending: explainEnding(known, seen, text, hasWork(), now) }
    })
    const ended = await Promise.all(endings)
    for (const { record, ending } of ended) {
      workers.delete(record.pilot)
      const expected = asked.delete(record.pilot) || record.blackHole !== undefined
      if (expected || !ending.failure || stopping) continue
      health = failed(
        health,
        { submittedAt: record.submittedAt ?? record.createdAt, reason: ending.reason },
        now,
      )
      if (ending.node && record.registeredAt === undefined) nodes.stillborn(ending.node, record.pilot, now)
      log.warn({ pilot: record.pilot, node: ending.node }, ending.reason)
    }
    if (ended.length > 0)
      registry.ended(ended.map(({ record, ending }) => ({ pilot: record.pilot, reason: ending.reason })))
  }

  const hasWork = () => {
    const { queued, leased } = registry.demand()
    return queued + leased > 0
  }

  const decideNow = () =>
    decide({ config, pilots, demand: registry.demand(), lastWork, health, now: Date.now() })

  /** Submits what is wanted now, which may be another number than when its turn was asked for. */
  async function submit(): Promise<void> {
    decision = decideNow()
    if (stopping || decision.submit === 0) return
    const created = registry.create(config.name, decision.submit)
    const submission = newSubmission(
      siteFolder,
      created.map(({ pilot }) => pilot),
      avoidNodes,
    )
    for (const pilot of submission.pilots) {
      submissions.set(pilot, submission)
      pilots.push({ pilot, state: 'submitting', registered: false, idle: false, since: Date.now() })
    }
    try {
      await writeSubmission(
        submission,
        submissionFiles(submission, config, boot, site.render(submission)),
        created,
      )
    } catch (error) {
      return refused(submission, error as Error)
    }
    try {
      registry.submitted(await site.submit(submission, limit()))
      log.info({ submission: submission.id, pilots: submission.pilots.length }, 'submitted')
    } catch (error) {
      if (error instanceof SubmitRefused) return refused(submission, error)
      // The batch system may have them or not: they count until its queue has had time to show them.
      health = failed(health, { submittedAt: Date.now(), reason: (error as Error).message }, Date.now())
      throw error
    }
  }

  function refused(submission: Submission, error: Error) {
    const reason = `submission failed: ${error.message}`
    log.warn({ submission: submission.id }, reason)
    pilots = pilots.filter(({ pilot }) => !submission.pilots.includes(pilot))
    registry.ended(submission.pilots.map((pilot) => ({ pilot, reason })))
    health = failed(health, { submittedAt: Date.now(), reason }, Date.now())
  }

  async function forgetSubmissions() {
    const present = new Set(pilots.map(({ pilot }) => pilot))
    const over = [...new Set(submissions.values())].filter(
      (s) => !s.pilots.some((pilot) => present.has(pilot)),
    )
    for (const submission of over.slice(0, -KEPT_SUBMISSIONS)) {
      // It stays while somebody has a file of it open on a shared filesystem: nothing to stop work for.
      const error = await removeSubmission(submission).catch((error: unknown) => error)
      if (error) log.warn({ err: error, submission: submission.id }, 'its folder cannot be removed yet')
      else submission.pilots.forEach((pilot) => submissions.delete(pilot))
    }
  }

  /** Runs one turn; what goes wrong with the batch system is the site's state, not the factory's end. */
  const turn = (work: () => Promise<void>) =>
    turns.add(async () => {
      try {
        await work()
        trouble = undefined
      } catch (error) {
        trouble = (error as Error).message
        log.error({ err: error }, 'the batch system does not answer as it should')
      }
    })

  async function run(): Promise<void> {
    await turn(async () => {
      for (const submission of await readSubmissions(siteFolder))
        for (const pilot of submission.pilots) submissions.set(pilot, submission)
    })
    const shortest = config.kind === 'local' ? 50 : 1000
    while (!stopping) {
      await turn(look)
      if (decision.submit > 0 && !trouble && submitting.size + submitting.pending === 0)
        void submitting.add(() => turn(submit))
      await bell.sleep(shortest, config.poll * 1000)
    }
  }

  async function finish(): Promise<void> {
    submitting.clear()
    await running
    await turns.onIdle()
    const fast = Math.min(config.poll * 1000, 1000)
    while (stopping?.drain && hasWork()) {
      await turn(look)
      if (!trouble && pilots.length === 0) break
      await bell.sleep(50, fast)
    }
    stopping = { drain: false }
    const giveUpAt = Date.now() + config.grace * 1000 + 2 * COMMAND_LIMIT
    for (;;) {
      await turn(async () => {
        await look()
        await removeNow(
          jobs.filter(({ state }) => state !== 'ending' && state !== 'ended'),
          false,
        )
      })
      if (!trouble && pilots.length === 0) return
      if (Date.now() > giveUpAt) throw new Error(leftBehind())
      await bell.sleep(50, fast)
    }
  }

  const leftBehind = () =>
    `site ${config.name}: ${trouble ?? `still in the queue: ${pilots.map(({ pilot }) => pilot).join(', ')}`}`

  const running = run()
  let stopped: Promise<void> | undefined

  return {
    wake: bell.ring,
    status: () => siteStatus(config, pilots, jobs, decision, trouble),
    stop(options) {
      stopping ??= options
      bell.ring()
      return (stopped ??= finish())
    },
  }
}

function siteStatus(
  config: SiteConfig,
  pilots: PilotView[],
  jobs: Job[],
  { wanted, paused }: Decision,
  trouble: string | undefined,
): SiteStatus {
  const count = (...states: PilotView['state'][]) =>
    pilots.filter(({ state }) => states.includes(state)).length
  const reasons = Map.groupBy(
    jobs.filter(({ state, reason }) => (state === 'pending' || state === 'held') && reason !== undefined),
    ({ reason }) => reason!,
  )
  const pause = paused && `${paused.reason}; next try at ${new Date(paused.until).toISOString()}`
  const why = trouble ?? pause
  return {
    name: config.name,
    kind: config.kind,
    policy: config.policy,
    max: config.max,
    wanted,
    pending: count('submitting', 'pending'),
    running: count('running'),
    held: count('held'),
    registered: pilots.filter(({ registered }) => registered).length,
    ...(why !== undefined && { paused: why }),
    reasons: [...reasons].map(([reason, held]) => ({ reason, pilots: held.length })),
  }
}
