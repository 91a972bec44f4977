import type { Level } from '../../protocol/contexts/context.ts'
import type { AnyTaskResult, TaskError } from '../../protocol/task.ts'
import type { ExchangeRequest, ExchangeResponse } from '../../protocol/worker.ts'
import type { RangeSet } from './range-set.ts'

/** Times are milliseconds on the manager's clock; durations milliseconds. */
export interface SchedulerConfig {
  /** A worker not heard from for this long is gone, and its tasks are queued again. */
  workerTimeoutMs: number
  /** The same once its connection broke. */
  suspectMs: number
  /** A task whose library died this often while it ran is set aside. */
  maxCrashes: number
  /** A context whose setup failed this often, and never worked, counts as broken. */
  maxSetupFailures: number
  /** Wait before a failed setup is tried again; doubles with each failure. */
  setupRetryMs: number
  /** A worker that failed this many tasks in a row is on trial, and a black hole where others succeed: see `worker-trial.ts`. */
  blackHoleFailures: number
  /** A worker on trial is given a task this often. */
  trialMs: number
  /** For this long at least, as others may come any moment; and this long at most. */
  doubtMs: number
  longDoubtMs: number
  /** A worker works for one context at least this long before it turns to another one of as much priority. */
  turnMs: number
  /** A lease is slow after this many times the time that a worker of its context takes for as much, on the average. */
  slowFactor: number
  /** But not before this long. */
  slowMs: number
}

export const defaultConfig: SchedulerConfig = {
  workerTimeoutMs: 30_000,
  suspectMs: 3_000,
  maxCrashes: 3,
  maxSetupFailures: 3,
  setupRetryMs: 1_000,
  blackHoleFailures: 10,
  trialMs: 1_000,
  doubtMs: 10_000,
  longDoubtMs: 600_000,
  turnMs: 5_000,
  slowFactor: 3,
  slowMs: 10_000,
}

export interface Job {
  id: number
  /** Context id. */
  context: string
  function: string
  priority: number
  retries: number
  timeLimitMs?: number
  /** Its trace, which those who run its tasks are told. */
  traceparent?: string
  /** Numbers of the tasks that wait. The lowest go first, so what was given back goes to the front. */
  queue: RangeSet
  leased: number
  done: number
  failed: number
  /** No more tasks will be added. */
  closed: boolean
  /** Only tasks that ever went wrong have an entry. */
  faults: Map<number, Faults>
}

/** What one task was charged with so far. */
export interface Faults {
  errors: number
  crashes: number
  /** Errors that were not counted, as they may have been the worker's fault. */
  excuses: number
  /** The worker on which it failed last. */
  failedOn?: string
}

/** Tasks given to one worker under one fencing number. `open` of them still have no outcome. */
export interface LeaseRecord {
  id: number
  worker: string
  job: Job
  tasks: number[]
  open: number
  grantedAt: number
  /** What the worker then had in hand in all. */
  inHand: number
}

/** One context as the scheduler sees it, over all jobs and workers. */
export interface ContextState {
  id: string
  jobs: Job[]
  /** Tasks that wait, in all jobs; `task-queues.ts` keeps this. */
  queued: number
  /** Tasks in workers' hands, in all jobs. */
  leased: number
  /** Workers told to work for it. */
  assigned: number
  /** Workers that hold it loaded and work for it, and their measured rates summed, tasks/s. */
  ready: number
  rate: number
  /** Tasks/s of one worker that works for it, a moving mean of what such workers measured; 0 until one has. */
  workerRate: number
  /** Workers that hold it loaded, whatever they work for. */
  loaded: number
  /** Time a worker took to bring it up from nothing, the last that did, and how much of it to load it; 0 if none has. */
  upMs: number
  loadMs: number
  setupFailures: number
  everReady: boolean
  /** Set while its setup has only ever failed: users are told, and no pilots are started for it. Workers go on trying, ever more rarely. */
  broken?: TaskError
}

export interface WorkerInfo {
  id: string
  node: string
  slots: number
  /** When the batch system ends it. */
  deadline?: number
}

export interface Worker extends WorkerInfo {
  seq: number
  heardAt: number
  /** Set when its connection broke and it has not been heard from since. */
  suspectSince?: number
  draining: boolean
  leaving: boolean
  /** Tasks that it gave back unfinished since it began to leave, by job. */
  handedBack: Map<number, number>
  rate: number
  done: number
  /** Failures since it last finished a task, and how often another worker then finished what it had failed. */
  failures: number
  contradicted: number
  /** Set when it failed so much that it is given only a task now and then: since when, and when the next. */
  trial?: { since: number; nextAt: number }
  leases: Map<number, LeaseRecord>
  levels: Map<string, Level>
  /** Room for tasks by context, as last reported, less what was granted since. */
  want: Map<string, number>
  /** Tasks that its libraries must have to be busy, by context. */
  least: Map<string, number>
  /** Contexts it holds loaded and works for; each gets an equal part of its rate. */
  ready: string[]
  /** Contexts that it has had loaded. */
  broughtUp: Set<string>
  /** When its turn to work for a context began, for each that it ever worked for. */
  turns: Map<string, number>
  /** Contexts whose setup failed here: at which attempt, and when to try again. */
  setupRetries: Map<string, { attempts: number; retryAt: number }>
  /** The contexts it was told to work for. */
  warm: string[]
  /** The contexts it was told to bring the files of, besides. */
  ahead: string[]
  /** It has a request open until then. */
  parkedUntil?: number
  /** To be told with the next answer. */
  cancel: number[]
  revoke: number[]
  discard: string[]
  again: string[]
}

/** Why a worker leaves. */
export type Leaving = NonNullable<ExchangeRequest['leaving']>

/** A lease on its way out: the shell adds the tasks' inputs. */
export interface Grant {
  lease: number
  job: number
  traceparent?: string
  context: string
  function: string
  tasks: { task: number; alone?: boolean }[]
  timeLimitMs?: number
}

export type Reply = Omit<ExchangeResponse, 'leases' | 'shells'> & { leases: Grant[] }

/** A worker was taken out. */
export interface WorkerGone {
  type: 'worker-gone'
  worker: string
  reason: 'lost' | 'left'
  /** Why it left, in its own words. */
  leaving?: Leaving
  requeued: number
  /** Tasks that it did not end, by job: those that were queued again now, and those that it gave back since it began to leave. */
  attempts: { job: number; tasks: number }[]
  /** When it was there for the last time, as far as is known. */
  goneAt: number
}

/** What the shell must do, in order. */
export type Action =
  /** Answer the worker's open request. */
  | { type: 'reply'; worker: string; reply: Reply }
  /** Write down a task's final outcome; acknowledge it only when it is on disk. */
  | { type: 'record'; job: number; result: AnyTaskResult; worker: string }
  | { type: 'job-finished'; job: number }
  | WorkerGone
  | { type: 'context-broken'; context: string; error: TaskError }
  | { type: 'black-hole'; worker: string; node: string; failures: number }

export interface SchedulerState {
  config: SchedulerConfig
  jobs: Map<number, Job>
  contexts: Map<string, ContextState>
  /** Those with tasks that wait; the one that has waited the longest comes first. */
  waiting: Set<ContextState>
  /** Contexts whose files a user wants on all workers that have nothing else to fetch. */
  ahead: Set<string>
  workers: Map<string, Worker>
  /** Pilots whose workers have not registered yet. */
  coming: number
  /** The lease under which each leased task runs. */
  holders: Map<number, LeaseRecord>
  /** The second lease of those that run twice, on another worker: see `speculative-copies.ts`. */
  copies: Map<number, LeaseRecord>
  /** Workers that have tasks in hand which ended elsewhere, or were cancelled: to be told before anything else happens. */
  overtaken: Set<Worker>
  nextLease: number
  counts: { duplicates: number; requeued: number; evictions: number; lost: number }
}

/**
 * An empty scheduler.
 * @param firstLease fencing numbers start here; must be above every number ever given out before
 */
export function createScheduler(firstLease: number, config: Partial<SchedulerConfig> = {}): SchedulerState {
  return {
    config: { ...defaultConfig, ...config },
    jobs: new Map(),
    contexts: new Map(),
    waiting: new Set(),
    ahead: new Set(),
    workers: new Map(),
    coming: 0,
    holders: new Map(),
    copies: new Map(),
    overtaken: new Set(),
    nextLease: firstLease,
    counts: { duplicates: 0, requeued: 0, evictions: 0, lost: 0 },
  }
}

/** The context's entry, made at its first mention. */
export function contextOf(state: SchedulerState, id: string): ContextState {
  let context = state.contexts.get(id)
  if (!context) {
    context = {
      id,
      jobs: [],
      queued: 0,
      leased: 0,
      assigned: 0,
      ready: 0,
      rate: 0,
      workerRate: 0,
      loaded: 0,
      upMs: 0,
      loadMs: 0,
      setupFailures: 0,
      everReady: false,
    }
    state.contexts.set(id, context)
  }
  return context
}

/** A worker's entry, of which nothing was heard but that it is there. */
export function newWorker(info: WorkerInfo, now: number): Worker {
  return {
    ...info,
    seq: -1,
    heardAt: now,
    draining: false,
    leaving: false,
    handedBack: new Map(),
    rate: 0,
    done: 0,
    failures: 0,
    contradicted: 0,
    leases: new Map(),
    levels: new Map(),
    want: new Map(),
    least: new Map(),
    ready: [],
    broughtUp: new Set(),
    turns: new Map(),
    setupRetries: new Map(),
    warm: [],
    ahead: [],
    cancel: [],
    revoke: [],
    discard: [],
    again: [],
  }
}

/** Whether a worker holds a context loaded. */
export function isLoadedOn({ levels }: Worker, context: string): boolean {
  const level = levels.get(context)
  return level === 'memory' || level === 'device'
}
