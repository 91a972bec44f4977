import type { FactorySites } from '../../core/interfaces/factory-sites.ts'
import type { JobInfo } from '../../protocol/client.ts'
import type { PilotsResponse, Status } from '../../protocol/status.ts'
import type { ContextReport } from '../../protocol/worker.ts'
import type { Contexts } from './contexts/contexts.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { Jobs } from './jobs/jobs.ts'
import type { Peers } from './peers.ts'
import type { WorkerSessions } from './pilots/worker-sessions.ts'

/** Seconds over which the rate is taken. */
const RATE_SECONDS = 10
/** Jobs that have ended and are still shown: a factory that runs for weeks has thousands. */
const ENDED_SHOWN = 20

/** What was last counted of a worker's context. */
interface Counted {
  fetchMs: number
  loadMs: number
  loaded: boolean
}

interface Times {
  fetchMs: number
  loadMs: number
  loads: number
  inferenceMs: number
  inferences: number
}

/** What users see of the running system, gathered from all parts. */
export class StatusBoard {
  readonly #startedAt: number
  readonly #version: string
  readonly #dispatcher: Dispatcher
  readonly #sessions: WorkerSessions
  readonly #jobs: Jobs
  readonly #contexts: Contexts
  readonly #peers: Peers
  readonly #times = new Map<string, Times>()
  /** The last report of each context by worker. */
  readonly #reports = new Map<string, Map<string, ContextReport>>()
  /** What of that is in the times already, also of workers that are lost: they may come back. */
  readonly #counted = new Map<string, Map<string, Counted>>()
  /** Tasks finished in each of the last seconds, newest last. */
  readonly #finished: { second: number; tasks: number }[] = []
  /** Set once the factory runs. */
  sites: FactorySites = {
    status: () => [],
    pilots: () => [],
    order: () => undefined,
    explain: () => undefined,
  }

  constructor(parts: {
    version: string
    dispatcher: Dispatcher
    sessions: WorkerSessions
    jobs: Jobs
    contexts: Contexts
    peers: Peers
  }) {
    this.#version = parts.version
    this.#dispatcher = parts.dispatcher
    this.#sessions = parts.sessions
    this.#jobs = parts.jobs
    this.#contexts = parts.contexts
    this.#peers = parts.peers
    this.#startedAt = parts.dispatcher.now
    parts.dispatcher.on('results', (progress) => {
      for (const [job, { done, failed, ms }] of progress) {
        this.#count(done + failed)
        const times = this.#timesOf(parts.jobs.contextOf(job))
        times.inferenceMs += ms
        times.inferences += done + failed
      }
    })
    parts.dispatcher.on('worker-gone', (worker) => {
      this.#reports.delete(worker)
      for (const known of this.#counted.keys()) if (!parts.sessions.find(known)) this.#counted.delete(known)
    })
  }

  #count(tasks: number): void {
    const second = Math.floor(this.#dispatcher.now / 1000)
    const last = this.#finished.at(-1)
    if (last?.second === second) last.tasks += tasks
    else this.#finished.push({ second, tasks })
    while (this.#finished[0]!.second < second - RATE_SECONDS) this.#finished.shift()
  }

  /** What each worker last said of the contexts it holds. */
  get reports(): ReadonlyMap<string, readonly ContextReport[]> {
    return new Map([...this.#reports].map(([worker, reports]) => [worker, [...reports.values()]]))
  }

  /** Notes what a worker says of its contexts; times grow there, so the difference to its last report is new. */
  note(worker: string, reports: ContextReport[]): void {
    this.#reports.set(worker, new Map(reports.map((report) => [report.context, report])))
    const counted = this.#counted.get(worker) ?? new Map<string, Counted>()
    this.#counted.set(worker, counted)
    // Nothing there took longer than the worker has been there.
    const longestMs = Math.max(
      0,
      this.#dispatcher.now - (this.#sessions.find(worker)?.registeredAt ?? Infinity),
    )
    for (const report of reports) {
      const last = counted.get(report.context) ?? { fetchMs: 0, loadMs: 0, loaded: false }
      const now = {
        fetchMs: Math.min(longestMs, report.fetchMs ?? 0),
        loadMs: Math.min(longestMs, report.loadMs ?? 0),
        loaded: isLoaded(report),
      }
      counted.set(report.context, now)
      const times = this.#timesOf(report.context)
      times.fetchMs += Math.max(0, now.fetchMs - last.fetchMs)
      times.loadMs += Math.max(0, now.loadMs - last.loadMs)
      if (now.loaded && !last.loaded) times.loads++
    }
  }

  #timesOf(context: string): Times {
    let times = this.#times.get(context)
    if (!times) {
      times = { fetchMs: 0, loadMs: 0, loads: 0, inferenceMs: 0, inferences: 0 }
      this.#times.set(context, times)
    }
    return times
  }

  /** Tasks finished per second over the last {@link RATE_SECONDS}. */
  #rate(): number {
    const now = this.#dispatcher.now / 1000
    const recent = this.#finished.filter(({ second }) => second >= now - RATE_SECONDS)
    if (recent.length === 0) return 0
    const span = Math.max(1, now - recent[0]!.second)
    return recent.reduce((sum, { tasks }) => sum + tasks, 0) / span
  }

  pilots(): PilotsResponse {
    return { now: this.#dispatcher.now, pilots: this.sites.pilots() }
  }

  read(): Status {
    const { counts, queued, leased } = this.#dispatcher.view
    const infos = this.#jobs.list()
    const shown = shownOf(infos)
    const notice = this.sites.notice?.()
    return {
      version: this.#version,
      startedAt: this.#startedAt,
      now: this.#dispatcher.now,
      tasks: {
        queued,
        leased,
        done: infos.reduce((sum, job) => sum + job.done, 0),
        failed: infos.reduce((sum, job) => sum + job.failed, 0),
      },
      rate: this.#rate(),
      duplicates: counts.duplicates,
      evictions: counts.evictions,
      lost: counts.lost,
      requeued: counts.requeued,
      jobs: shown,
      earlierJobs: infos.length - shown.length,
      workers: this.#workers(),
      ...(notice !== undefined && { notice }),
      sites: this.sites.status(),
      contexts: [...this.#times].map(([id, times]) => ({ id, context: this.#nameOf(id), ...times })),
      transfers: this.#peers.transfers(),
    }
  }

  #workers(): Status['workers'] {
    const workers: Status['workers'] = []
    for (const { worker: id, site, pilot, info } of this.#sessions.all) {
      const worker = this.#dispatcher.view.worker(id)
      if (!worker) continue
      const reports = [...(this.#reports.get(id)?.values() ?? [])]
      const since = worker.busySince
      workers.push({
        id,
        site,
        pilot,
        node: info.node,
        slots: info.slots.length,
        state: worker.standing,
        rate: worker.rate,
        leased: worker.leased,
        ...(since === undefined ? {} : { oldestMs: Math.max(0, this.#dispatcher.now - since) }),
        contexts: reports.map(({ context, level, loadedIn, doing, bytesHeld, bytesTotal, error }) => ({
          context: this.#nameOf(context),
          level,
          ...(loadedIn === undefined ? {} : { loadedIn }),
          ...(doing === undefined ? {} : { doing }),
          ...(bytesHeld === undefined ? {} : { bytesHeld }),
          ...(bytesTotal === undefined ? {} : { bytesTotal }),
          ...(error === undefined ? {} : { error }),
        })),
        ...(info.deadline === undefined ? {} : { deadline: info.deadline }),
      })
    }
    return workers
  }

  #nameOf(context: string): string {
    return this.#contexts.find(context)?.name ?? context.slice(0, 12)
  }
}

/** Those that are open, and the last that have ended. */
function shownOf(jobs: JobInfo[]): JobInfo[] {
  const ended = new Set(jobs.filter(({ state }) => state !== 'open').slice(-ENDED_SHOWN))
  return jobs.filter((job) => job.state === 'open' || ended.has(job))
}

function isLoaded({ level }: ContextReport): boolean {
  return level === 'memory' || level === 'device'
}
