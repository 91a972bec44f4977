import type { Logger } from 'pino'
import type { PilotRecord, PilotRegistry } from '../../core/interfaces/pilot-registry.ts'
import { type Decision, decide } from '../../core/pilot-scaling.ts'
import type { SiteExplanation } from '../../protocol/explanation.ts'
import type { PilotStatus, SiteStatus } from '../../protocol/status.ts'
import type { SiteConfig } from '../config/config.ts'
import type { SiteProblem } from '../policy/site-problems.ts'
import type { SiteRelay } from '../relays/site-relay.ts'
import { explainPilotExit } from './pilot-exit.ts'
import { createSiteHealth } from './site-health.ts'
import { matchPilots, type MatchedPilots, type Sighting } from '../policy/match-pilots.ts'
import { explainSite } from '../policy/site-explanation.ts'
import { pilotStatuses } from '../policy/pilot-status.ts'
import { type SiteSnapshot, siteStatus } from '../policy/site-status.ts'
import { silenceReasons, silentPilots } from '../policy/unregistered-pilots.ts'
import { type Job, type Site, SubmitRefused } from '../sites/site.ts'
import { submissionFolders } from '../submissions/submission-folders.ts'
import {
  type Boot,
  type Submission,
  bootThrough,
  newSubmission,
  submissionFiles,
  writeSubmission,
} from '../submissions/submission.ts'

/** Longest a command of the batch system may take, milliseconds. */
export const COMMAND_LIMIT = 60_000

/** Of so many pilots that have not registered the logs are read at each look. */
const ASKED_AT_ONCE = 5

const limit = () => AbortSignal.timeout(COMMAND_LIMIT)

/** What a site is kept for: whatever work comes, the end of the work there is, or to be emptied. */
export type SiteAim = 'work' | 'finish' | 'empty'

export type SiteParts = {
  config: SiteConfig
  site: Site
  siteFolder: string
  registry: PilotRegistry
  boot: Boot
  /** Through which its pilots reach the manager, if the factory keeps one for them. */
  relay?: SiteRelay | undefined
  log: Logger
}

/**
 * What there is to do at one site: look at its queue, and do what its policy calls for. One thing at a time, so that each
 * listing shows every submission made before it; who calls sees to that. Errors of the batch system are the caller's, and
 * leave everything such that the next look finds out what is there.
 */
export class SiteReconciler {
  readonly #parts: SiteParts
  readonly #experience = createSiteHealth()
  /** What new pilots boot with. */
  #boot: Boot
  readonly #submissions: ReturnType<typeof submissionFolders>
  /** What takes up room at the site, as far as is known. */
  #pilots: Sighting[] = []
  /** The queue, as it was seen last. */
  #jobs: Job[] = []
  #listedAt = 0
  /** Whether the last look could see it. */
  #seen = false
  /** Pilots whose jobs were told to go, and are not known to be gone. */
  readonly #removed = new Set<string>()
  /** What was wrong in the last look, but did not keep it from its end. */
  #warnings: string[] = []
  /** Most pilots to submit at once, after the batch system said that some were too many. */
  #fewer = Infinity
  #shouldRetry = false
  #decision: Decision = { wanted: 0, submit: 0, bound: 'no-work', remove: [], drain: [] }
  #avoidNodes: string[] = []
  /** Why pilots that run have not registered. */
  #silence: SiteStatus['reasons'] = []
  #lastWork = 0

  constructor(parts: SiteParts) {
    this.#parts = parts
    this.#boot = parts.boot
    this.#submissions = submissionFolders(parts.siteFolder, parts.site.files, parts.log)
  }

  /** Pilots that may be in the queue. */
  get pilots(): string[] {
    return this.#pilots.map(({ pilot }) => pilot)
  }

  /** Whether the last look found that pilots should be submitted. */
  get wantsMore(): boolean {
    return this.#decision.submit > 0
  }

  /** Whether the last submission was refused for its size, and a smaller one may not be. */
  get shouldRetry(): boolean {
    return this.#shouldRetry
  }

  get hasWork(): boolean {
    const { queued, leased } = this.#parts.registry.demand()
    return queued + leased > 0
  }

  /** @param problems what keeps it from submitting anything */
  status(problems: readonly SiteProblem[]): SiteStatus {
    return siteStatus(this.#snapshot(problems))
  }

  /** @param problems what keeps it from submitting anything */
  explain(problems: readonly SiteProblem[]): SiteExplanation {
    return explainSite({ ...this.#snapshot(problems), decision: this.#decide() })
  }

  #snapshot(problems: readonly SiteProblem[]): SiteSnapshot {
    const { config, registry } = this.#parts
    return {
      config,
      pilots: this.#pilots,
      jobs: this.#jobs,
      decision: this.#decision,
      order: registry.order(config.name),
      problems,
      warnings: this.#warnings,
      silence: this.#silence,
      health: this.#experience.health,
      avoidNodes: this.#avoidNodes,
      records: registry.list(config.name),
      demand: registry.demand(),
      listedAt: this.#listedAt,
      now: Date.now(),
    }
  }

  pilotStatuses(): PilotStatus[] {
    return pilotStatuses(this.#snapshot([]))
  }

  /** Finds the submissions of earlier starts of the factory. */
  recall(): Promise<void> {
    return this.#submissions.read()
  }

  /** Looks at the queue and does what it calls for, but for submitting. */
  async look(aim: SiteAim): Promise<void> {
    const { config, registry, site } = this.#parts
    const now = Date.now()
    this.#seen = false
    const listing = await site.list(limit())
    this.#seen = true
    this.#jobs = listing.jobs
    this.#listedAt = now
    this.#warn(listing.oddities)
    // One that was to go only if it had not started has started.
    for (const { pilot, state } of this.#jobs) if (state === 'running') this.#removed.delete(pilot)
    const records = registry.list(config.name)
    const { lateness, certain } = site
    const circumstances = { lateness, certain, listedAt: now, before: this.#pilots, removed: this.#removed }
    const found = matchPilots(listing, records, circumstances)
    this.#pilots = found.pilots
    this.#takeOn(found.adopted)
    for (const record of records) this.#experience.seen(record, now)
    await this.#bury(found.gone, aim, now)
    await this.#remove(found.orphans, false)
    await this.#submissions.clear(new Set(this.pilots), limit())
    this.#silence = await this.#explainSilence(now)

    if (this.hasWork) this.#lastWork = now
    this.#decision = this.#decide()
    this.#avoidNodes = this.#experience.avoidNodes(now)
    if (aim === 'work' || (aim === 'finish' && this.hasWork)) await this.#letGo(records)
  }

  /** Brings what pilots boot from to where they see it, which may take long where a link is slow; beside the looks. */
  async prepare(signal: AbortSignal): Promise<void> {
    const { boot, site, relay } = this.#parts
    if (relay) this.#boot = bootThrough(boot, await relay.ready(signal))
    if (!site.sharesFiles) return
    const delivered = await site.files.deliver(boot.runtime, signal)
    if (delivered !== boot.runtime.path) this.#boot = { ...this.#boot, deliveredRuntime: delivered }
  }

  /** Submits what is wanted now, which may be another number than when its turn was asked for. */
  async submit(): Promise<void> {
    const { config, registry, site, siteFolder } = this.#parts
    this.#shouldRetry = false
    this.#decision = this.#decide()
    if (!this.wantsMore) return
    const seenFolder = await site.files.folderFor(siteFolder, limit())
    const created = registry.create(config.name, this.#decision.submit)
    const pilots = created.map(({ pilot }) => pilot)
    const submission = newSubmission(siteFolder, pilots, this.#avoidNodes, seenFolder)
    this.#submissions.add(submission)
    const since = Date.now()
    for (const pilot of pilots)
      this.#pilots.push({
        pilot,
        state: 'submitting',
        registered: false,
        idle: false,
        since,
        seenAt: since,
        misses: 0,
      })
    try {
      const files = submissionFiles(submission, config, this.#boot, site.render(submission))
      await writeSubmission(submission, files, created)
      await site.files.copy(submission.record, submission.folder, limit())
    } catch (error) {
      return this.#refused(submission, error as Error)
    }
    await this.#hand(submission)
  }

  /**
   * Removes all that is in the queue, whatever it does, as the last look showed it. If that could not see the queue, all that
   * the ledger has is told to go.
   */
  removeAll(): Promise<void> {
    const { config, registry } = this.#parts
    const recorded = registry
      .list(config.name)
      .flatMap(({ pilot, jobId }): Job[] => (jobId === undefined ? [] : [{ pilot, jobId, state: 'unknown' }]))
    const jobs = this.#seen
      ? this.#jobs.filter(({ state }) => state !== 'ending' && state !== 'ended')
      : recorded
    return this.#remove(jobs, false)
  }

  async #hand(submission: Submission): Promise<void> {
    const { registry, site, log } = this.#parts
    try {
      registry.submitted(await site.submit(submission, limit()))
      this.#fewer *= 2
      log.info({ submission: submission.id, pilots: submission.pilots.length }, 'submitted')
    } catch (error) {
      if (error instanceof SubmitRefused) return this.#refused(submission, error)
      // The batch system may have them or not: they count until its queue has had time to show them.
      this.#experience.notSubmitted((error as Error).message, Date.now())
      throw error
    }
  }

  #refused(submission: Submission, error: Error): void {
    const { registry, log, site } = this.#parts
    const reason = `submission failed: ${error.message}`
    log.warn({ submission: submission.id, pilots: submission.pilots.length }, reason)
    this.#pilots = this.#pilots.filter(({ pilot }) => !submission.pilots.includes(pilot))
    registry.ended(submission.pilots.map((pilot) => ({ pilot, reason })))
    if (!(error instanceof SubmitRefused) || !error.tooMany)
      return this.#experience.notSubmitted(reason, Date.now())
    this.#shouldRetry = true
    const half = Math.floor(submission.pilots.length / 2)
    if (site.largest >= submission.pilots.length) this.#fewer = half
  }

  #takeOn(adopted: MatchedPilots['adopted']): void {
    if (adopted.length === 0) return
    this.#parts.log.info({ pilots: adopted }, 'found pilots whose submission was not recorded')
    this.#parts.registry.submitted(adopted)
  }

  async #bury(gone: MatchedPilots['gone'], aim: SiteAim, now: number): Promise<void> {
    if (gone.length === 0) return
    const { registry, log } = this.#parts
    const endings = gone.map(async ({ record, job }) => {
      const text = await this.#submissions.logOf(record.pilot, limit())
      return {
        record,
        ending: explainPilotExit(this.#experience.recall(record), job, text, this.hasWork, now),
      }
    })
    const ended = await Promise.all(endings)
    for (const { record } of ended) this.#removed.delete(record.pilot)
    for (const { record, ending } of ended) {
      if (this.#experience.ended(record, ending, aim !== 'work', now))
        log.warn({ pilot: record.pilot, node: ending.node }, ending.reason)
    }
    registry.ended(ended.map(({ record, ending }) => ({ pilot: record.pilot, reason: ending.reason })))
  }

  async #explainSilence(now: number): Promise<SiteStatus['reasons']> {
    const silent = silentPilots(this.#pilots, now)
    const asked = silent.slice(0, ASKED_AT_ONCE).map(async (pilot) => {
      // Whatever keeps a log from being read is no news of its pilot.
      const log = await this.#submissions.logOf(pilot.pilot, limit()).catch(() => '')
      return { pilot, log }
    })
    const reasons = silenceReasons(await Promise.all(asked), this.#parts.boot.managerUrl, now)
    const others = silent.length - asked.length
    return others > 0
      ? [...reasons, { reason: 'running, not registered either', pilots: others, state: 'running' }]
      : reasons
  }

  /** Parts with pilots that are too many, and with those on nodes where nothing works. */
  async #letGo(records: readonly PilotRecord[]): Promise<void> {
    const { remove, drain } = this.#decision
    const surplus = this.#jobs.filter(({ pilot }) => remove.includes(pilot))
    for (const { pilot, state } of surplus) if (state === 'pending') this.#experience.askedToLeave(pilot)
    await this.#remove(surplus, true)
    const misplaced = records.filter(
      ({ worker }) => worker?.state === 'active' && this.#avoidNodes.includes(worker.node),
    )
    for (const pilot of [...drain, ...misplaced.map(({ pilot }) => pilot)]) {
      this.#experience.askedToLeave(pilot)
      this.#parts.registry.drain(pilot)
    }
  }

  /** What cannot be removed is reported and stays in the count: it must not keep the site from its other work. */
  async #remove(jobs: Job[], unlessRunning: boolean): Promise<void> {
    if (jobs.length === 0) return
    try {
      await this.#parts.site.remove(jobs, { unlessRunning, signal: limit() })
    } catch (error) {
      this.#warn([
        ...this.#warnings,
        `cannot remove ${jobs.map(({ jobId }) => jobId).join(', ')}: ${(error as Error).message}`,
      ])
      return
    }
    for (const { pilot } of jobs) this.#removed.add(pilot)
  }

  /** Takes note of what is wrong, and logs what is new of it. */
  #warn(warnings: string[]): void {
    for (const warning of warnings) if (!this.#warnings.includes(warning)) this.#parts.log.warn(warning)
    this.#warnings = warnings
  }

  #decide(): Decision {
    const { config, registry, site } = this.#parts
    const submitSize = Math.min(config.submitSize, site.largest, this.#fewer)
    return decide({
      config: { ...config, submitSize },
      pilots: this.#pilots,
      demand: registry.demand(),
      lastWork: this.#lastWork,
      health: this.#experience.health,
      order: registry.order(config.name),
      now: Date.now(),
    })
  }
}
