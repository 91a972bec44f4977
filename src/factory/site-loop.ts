import PQueue from 'p-queue'
import type { Logger } from 'pino'
import type { PilotRegistry } from '../core/registry.ts'
import { type Decision, type PilotView, decide } from '../core/scaling.ts'
import type { SiteStatus } from '../protocol/client.ts'
import { alarm } from './alarm.ts'
import type { SiteConfig } from './config.ts'
import { explainEnding } from './ending.ts'
import { siteExperience } from './experience.ts'
import { reconcile, type Reconciled } from './reconcile.ts'
import { siteStatus } from './site-status.ts'
import { type Job, type Site, SubmitRefused } from './sites/site.ts'
import { submissionShelf } from './submission-shelf.ts'
import { type Boot, type Submission, newSubmission, submissionFiles, writeSubmission } from './submission.ts'

/** Longest a command of the batch system may take, milliseconds. */
const COMMAND_LIMIT = 60_000

export type SiteLoop = {
  status(): SiteStatus
  /** Looks at the queue soon, because something has changed. */
  wake(): void
  /**
   * Ends the site's pilots and resolves once its queue is empty. Called again without `drain`, it waits for work no longer.
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
  const experience = siteExperience()
  const submissions = submissionShelf(siteFolder, log)
  // Looking and submitting take turns, so that each listing shows every submission made before it.
  const turns = new PQueue({ concurrency: 1 })
  const submitting = new PQueue({
    concurrency: 1,
    interval: 60_000,
    intervalCap: config.submitRate,
    strict: true,
  })

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
    for (const record of records) experience.seen(record, listedAt)
    await bury(found.gone, last, listedAt)
    await removeNow(found.orphans, false)
    await submissions.clear(new Set(pilots.map(({ pilot }) => pilot)))

    if (hasWork()) lastWork = listedAt
    decision = decideNow()
    avoidNodes = experience.avoidNodes(listedAt)
    if (stopping && !(stopping.drain && hasWork())) return
    const surplus = named(decision.remove)
    for (const { pilot, state } of surplus) if (state === 'pending') experience.askedToLeave(pilot)
    await removeNow(surplus, true)
    decision.drain.forEach(askToLeave)
    for (const { pilot, worker } of records)
      if (worker?.state === 'active' && avoidNodes.includes(worker.node)) askToLeave(pilot)
  }

  function askToLeave(pilot: string) {
    experience.askedToLeave(pilot)
    registry.drain(pilot)
  }

  /** @param last what the queue showed when these may still have been in it. */
  async function bury(gone: Reconciled['gone'], last: Job[], now: number) {
    const endings = gone.map(async ({ record, job }) => {
      const text = await submissions.logOf(record.pilot)
      const seen = job ?? last.find(({ pilot }) => pilot === record.pilot)
      return { record, ending: explainEnding(experience.recall(record), seen, text, hasWork(), now) }
    })
    const ended = await Promise.all(endings)
    for (const { record, ending } of ended) {
      if (experience.ended(record, ending, stopping !== undefined, now))
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
    decide({
      config,
      pilots,
      demand: registry.demand(),
      lastWork,
      health: experience.health,
      now: Date.now(),
    })

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
    submissions.add(submission)
    for (const pilot of submission.pilots)
      pilots.push({ pilot, state: 'submitting', registered: false, idle: false, since: Date.now() })
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
      experience.notSubmitted((error as Error).message, Date.now())
      throw error
    }
  }

  function refused(submission: Submission, error: Error) {
    const reason = `submission failed: ${error.message}`
    log.warn({ submission: submission.id }, reason)
    pilots = pilots.filter(({ pilot }) => !submission.pilots.includes(pilot))
    registry.ended(submission.pilots.map((pilot) => ({ pilot, reason })))
    experience.notSubmitted(reason, Date.now())
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
    await turn(() => submissions.read())
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
      stopping = { drain: options.drain && (stopping?.drain ?? true) }
      bell.ring()
      return (stopped ??= finish())
    },
  }
}
