import { randomBytes } from 'node:crypto'
import type { Logger } from 'pino'
import type { NewEvent } from '../../../protocol/events.ts'
import type { TaskError } from '../../../protocol/task.ts'
import {
  parseTraceparent,
  taskTraceparent,
  type Trace,
  traceparentOf,
} from '../../../protocol/trace-context.ts'
import type { AnyExchangeRequest } from '../../../protocol/worker.ts'
import type { Ledger } from '../../ledger/ledger.ts'
import type { Dispatcher, GrantedLease } from '../dispatcher.ts'
import type { EventFeed } from '../events/event-feed.ts'
import type { Jobs } from '../jobs/jobs.ts'
import { newTrace } from '../jobs/new-trace.ts'
import type { WorkerSessions } from '../pilots/worker-sessions.ts'
import type { SpanExport, SpanRecord } from './span-record.ts'

/** Of a lease, so many tasks get spans of their own: all of a small one, and the first failures of a large one. */
const TASK_SPANS = 8
/** Jobs that are remembered; others are looked up again. */
const MOST_JOBS = 1_000
/** Most characters of an error in a span. */
const ERROR_LENGTH = 500

export interface SpanSources {
  ledger: Ledger
  dispatcher: Dispatcher
  jobs: Jobs
  sessions: WorkerSessions
  feed: EventFeed
  log: Logger
}

interface TracedJob {
  /** Its trace and its own span. */
  trace: Trace
  parentSpan: string | undefined
  name: string
  /** Its trace is one of those to be told of. */
  taken: boolean
  /** When it had ended and went on, and under which span. */
  again?: { spanId: string; at: number }
}

interface TracedLease extends GrantedLease {
  spanId: string
  grantedAt: number
  tasks: number
  done: number
  failed: number
  returned: number
  /** Task spans that were told. */
  told: number
}

/**
 * Makes spans of what goes on: a job, the leases of its tasks, some of the tasks, and how its context came to a worker. There is
 * one span for a lease, whatever it holds, so that what it costs goes by exchanges and not by tasks.
 */
export class JobSpans {
  readonly #parts: SpanSources
  readonly #spans: SpanExport
  readonly #jobs = new Map<number, TracedJob>()
  /** Leases in hand, by worker and fencing number. */
  readonly #leases = new Map<string, Map<number, TracedLease>>()

  constructor(parts: SpanSources, spans: SpanExport) {
    this.#parts = parts
    this.#spans = spans
    const { dispatcher, feed } = parts
    dispatcher.on('granted', (tasks, lease) => this.#safely(() => this.#granted(tasks.length, lease)))
    dispatcher.on('worker-gone', (worker, reason) =>
      this.#safely(() => this.#closeLeases(worker, [], reason)),
    )
    feed.onEvent((event) => this.#safely(() => this.#hear(event)))
  }

  /** A worker's request was taken in: it says how tasks ended, and which leases it still has. */
  note(worker: string, request: Pick<AnyExchangeRequest, 'results' | 'leases'>): void {
    this.#safely(() => this.#note(worker, request))
  }

  /** What goes wrong with a span must not be the fault of a request. */
  #safely(tell: () => void): void {
    try {
      tell()
    } catch (error) {
      this.#parts.log.error({ err: error }, 'a span was left out')
    }
  }

  #note(worker: string, { results, leases }: Pick<AnyExchangeRequest, 'results' | 'leases'>): void {
    const held = this.#leases.get(worker)
    if (!held) return
    for (const { task, lease, outcome, ms } of results) {
      const traced = held.get(lease)
      if (!traced) continue
      if (outcome.status === 'returned') traced.returned++
      else if (outcome.status === 'done') traced.done++
      else traced.failed++
      const error = 'error' in outcome ? outcome.error : undefined
      const isTold = outcome.status !== 'returned' && (error !== undefined || traced.tasks <= TASK_SPANS)
      if (isTold && traced.told++ < TASK_SPANS) this.#tellTask(traced, task, ms, error)
    }
    this.#closeLeases(worker, leases)
  }

  #granted(tasks: number, lease: GrantedLease): void {
    if (tasks === 0 || !this.#job(lease.job)?.taken) return
    const held = this.#leases.get(lease.worker) ?? new Map<number, TracedLease>()
    this.#leases.set(lease.worker, held)
    const counts = { tasks, done: 0, failed: 0, returned: 0, told: 0 }
    held.set(lease.lease, { ...lease, ...counts, spanId: newSpan(), grantedAt: this.#parts.dispatcher.now })
  }

  /** Ends those leases of a worker that it has no more. */
  #closeLeases(worker: string, still: readonly number[], gone?: 'lost' | 'left'): void {
    const held = this.#leases.get(worker)
    if (!held) return
    const kept = new Set(still)
    for (const [number, lease] of held) {
      if (kept.has(number)) continue
      held.delete(number)
      this.#tellLease(lease, gone)
    }
    if (held.size === 0) this.#leases.delete(worker)
  }

  #tellLease(lease: TracedLease, gone: 'lost' | 'left' | undefined): void {
    const { job, spanId, grantedAt, tasks, done, failed, returned } = lease
    const counts = {
      'gleaner.tasks': tasks,
      'gleaner.tasks.done': done,
      'gleaner.tasks.failed': failed,
      'gleaner.tasks.returned': returned,
    }
    this.#tellOf(job, {
      name: `lease ${lease.function}`,
      spanId,
      startMs: grantedAt,
      attributes: { ...this.#where(lease.worker), 'gleaner.context': lease.context, ...counts },
      ...(gone === 'lost' && { error: 'the worker was lost' }),
    })
  }

  #tellTask(lease: TracedLease, task: number, ms: number, error: TaskError | undefined): void {
    const { job, worker } = lease
    const known = this.#job(job)
    if (!known) return
    const { spanId } = parseTraceparent(taskTraceparent(traceparentOf(known.trace), task))!
    const key = this.#parts.ledger.tasks.keyOf(task)
    this.#tellOf(job, {
      name: `task ${lease.function}`,
      spanId,
      parentSpan: lease.spanId,
      startMs: this.#parts.dispatcher.now - ms,
      attributes: { ...this.#where(worker), 'gleaner.task': task, 'gleaner.task.key': key },
      ...(error && { error: `${error.name}: ${error.message}`.slice(0, ERROR_LENGTH) }),
    })
  }

  #hear(event: NewEvent & { at: number }): void {
    switch (event.type) {
      case 'job-reopened':
        return this.#reopened(event.job, event.at)
      case 'job-ended':
        return this.#jobEnded(event)
      case 'context-level': {
        const { at, from, level, fetchMs, loadMs } = event
        const isLoaded = level === 'memory' || level === 'device'
        if (from === 'absent' && fetchMs > 0)
          this.#tellContext('fetch context', event, at - loadMs - fetchMs, at - loadMs)
        if (isLoaded) this.#tellContext('load context', event, at - loadMs, at)
        return
      }
      case 'context-failed':
        return this.#tellContext('bring up context', event, event.at, event.at, event.message)
    }
  }

  #reopened(id: number, at: number): void {
    const job = this.#job(id)
    if (job) job.again = { spanId: newSpan(), at }
  }

  #jobEnded({ job: id, ...event }: NewEvent & { type: 'job-ended' }): void {
    const job = this.#job(id)
    if (!job?.taken) return
    const { context, function: fn, createdAt } = this.#parts.jobs.info(id)
    const { again } = job
    this.#tellOf(id, {
      name: again ? `job ${job.name} goes on` : `job ${job.name}`,
      spanId: again?.spanId ?? job.trace.spanId,
      parentSpan: again ? job.trace.spanId : job.parentSpan,
      startMs: again?.at ?? createdAt,
      attributes: {
        'gleaner.context': context,
        'gleaner.function': fn,
        'gleaner.state': event.state,
        'gleaner.tasks': event.tasks,
        'gleaner.tasks.done': event.done,
        'gleaner.tasks.failed': event.failed,
      },
      ...(event.failed > 0 && { error: `${event.failed} tasks failed` }),
    })
  }

  /** In the trace of the first job that waits for the context; in one of its own if none does. */
  #tellContext(
    name: string,
    event: { worker: string; context: string; contextId: string; site: string; node: string },
    startMs: number,
    endMs: number,
    error?: string,
  ): void {
    const attributes = { ...this.#where(event.worker), 'gleaner.context': event.context }
    const span = { name, startMs, endMs, spanId: newSpan(), attributes, error: error?.slice(0, ERROR_LENGTH) }
    const [job] = this.#parts.dispatcher.view.context(event.contextId)?.jobs ?? []
    if (job !== undefined) return this.#tellOf(job, span)
    const trace = parseTraceparent(newTrace(undefined).traceparent)!
    if (this.#spans.takes(trace, false)) this.#spans.add({ ...span, trace })
  }

  /** Tells of a span of a job, right below the job's own unless it says otherwise. It ends now unless it says otherwise. */
  #tellOf(id: number, span: Omit<SpanRecord, 'trace' | 'endMs'> & { spanId: string; endMs?: number }): void {
    const job = this.#job(id)
    if (!job?.taken) return
    const { spanId, ...rest } = span
    const parentSpan = 'parentSpan' in span ? span.parentSpan : (job.again?.spanId ?? job.trace.spanId)
    this.#spans.add({
      endMs: this.#parts.dispatcher.now,
      ...rest,
      trace: { ...job.trace, spanId },
      parentSpan,
      attributes: { 'gleaner.job': id, 'gleaner.job.name': job.name, ...rest.attributes },
    })
  }

  #job(id: number): TracedJob | undefined {
    const known = this.#jobs.get(id)
    if (known) return known
    if (!this.#parts.jobs.stand(id)) return undefined
    const { name, traceparent } = this.#parts.jobs.info(id)
    const trace = parseTraceparent(traceparent)
    if (!trace) return undefined
    const parentSpan = this.#parts.jobs.parentSpanOf(id)
    const job = { name, trace, parentSpan, taken: this.#spans.takes(trace, parentSpan !== undefined) }
    this.#jobs.set(id, job)
    if (this.#jobs.size > MOST_JOBS) this.#jobs.delete(this.#jobs.keys().next().value!)
    return job
  }

  #where(worker: string): Record<string, string> {
    const session = this.#parts.sessions.find(worker)
    if (!session) return { 'gleaner.worker': worker }
    const { pilot, site, info } = session
    return {
      'gleaner.worker': worker,
      'gleaner.pilot': pilot,
      'gleaner.site': site,
      'gleaner.node': info.node,
      'gleaner.device': info.slots[0]!.device,
    }
  }
}

const newSpan = () => randomBytes(8).toString('hex')
