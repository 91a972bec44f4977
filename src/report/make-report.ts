import type { JobErrors, JobInfo } from '../protocol/client.ts'
import type { FactoryEvent, Pool, SlotTime } from '../protocol/events.ts'

/*
 * What became of a job, from the events that the factory keeps. Pure: the same events make the same report, whenever it is made.
 * Times are milliseconds since 1970, durations milliseconds, slot time elapsed time times slots.
 */

/** One result as far as the report needs it. */
export interface Timing {
  worker?: string | undefined
  ms: number
  status: string
}

export interface ReportSources {
  job: JobInfo
  /** All that the ledger keeps, oldest first. */
  events: readonly FactoryEvent[]
  errors: JobErrors
  nodes: readonly NodeTimes[]
}

/** What the job's tasks took on one node. */
export interface NodeTimes {
  node: string
  site: string
  device: string
  tasks: number
  failed: number
  meanMs: number
}

/** A value that holds from a time on, by what it is of. */
export interface Step {
  at: number
  values: Record<string, number>
}

/** Slot time of workers of one site with one kind of slots, while the job ran. */
export interface PoolTime {
  site: string
  device: string
  spentMs: SlotTime
  /** What their GPUs drew, joules; absent where no driver told. */
  energyJ?: number
}

export interface Report {
  job: JobInfo
  /** From its submission to its end, or to the last event if it has not ended. */
  from: number
  to: number
  hasEnded: boolean
  /** Its submission is not among the events any more: what was before the first of them is missing. */
  isCut: boolean
  /** Other jobs that ran meanwhile: slot time and workers are not told apart by job. */
  otherJobs: number
  /** Workers by site and kind of slots. */
  workers: Step[]
  /** Slots by what they did. */
  slots: Step[]
  /** Tasks of the job that had ended. */
  progress: Step[]
  pools: PoolTime[]
  spent: SlotTime
  /** Workers that were taken away, by how. */
  taken: { evicted: Taken; lost: Taken }
  /** Tasks of the job that had to be given to another worker. */
  attemptsLost: number
  /** What bringing up the context took. */
  context: { loads: number; loadMs: number; fetches: number; fetchMs: number }
  errors: JobErrors
  /** The slowest first. */
  nodes: readonly NodeTimes[]
}

interface Taken {
  workers: number
  requeued: number
  lostMs: number
}

export function makeReport({ job, events: kept, errors, nodes }: ReportSources): Report {
  const events = inOrder(kept)
  const { from, to, hasEnded, isCut } = spanOf(job, events)
  const within = events.filter(({ at }) => at >= from && at <= to)
  const taken = { evicted: none(), lost: none() }
  const context = { loads: 0, loadMs: 0, fetches: 0, fetchMs: 0 }
  const others = new Set<number>()
  let attemptsLost = 0
  for (const event of within) {
    if (event.type === 'worker-evicted') add(taken.evicted, event)
    else if (event.type === 'worker-lost') add(taken.lost, event)
    else if (event.type === 'attempts-lost' && event.job === job.id) attemptsLost += event.tasks
    else if (event.type === 'context-level' && event.contextId === job.contextId) {
      // What is told of one that only began belongs to the level at which it ends.
      if (event.level === 'memory' || event.level === 'device') context.loads++
      if (event.from === 'absent' && event.fetchMs > 0) context.fetches++
      context.loadMs += event.loadMs
      context.fetchMs += event.fetchMs
    } else if (event.type === 'job-progress' && event.job !== job.id) others.add(event.job)
  }
  const pools = poolTimes(events, from, to)
  return {
    job,
    from,
    to,
    hasEnded,
    isCut,
    otherJobs: others.size,
    workers: clip(workerSteps(events), from, to),
    slots: clip(slotSteps(events), from, to),
    progress: progressSteps(job, within, from, to, hasEnded),
    pools,
    spent: sumTimes(pools.map(({ spentMs }) => spentMs)),
    taken,
    attemptsLost,
    context,
    errors,
    nodes: [...nodes].sort((a, b) => b.meanMs - a.meanMs),
  }
}

/** By the order in which they came; a clock that was set back between two starts makes no time run backwards. */
function inOrder(events: readonly FactoryEvent[]): FactoryEvent[] {
  let latest = 0
  return events.map((event) => ({ ...event, at: (latest = Math.max(latest, event.at)) }))
}

function spanOf({ id, createdAt, state }: JobInfo, events: readonly FactoryEvent[]) {
  const own = events.filter((event) => 'job' in event && event.job === id)
  const submitted = own.find(({ type }) => type === 'job-submitted')
  const ended = own.findLast(({ type }) => type === 'job-ended')
  const hasEnded = state !== 'open'
  const last = (hasEnded ? (ended ?? own.at(-1)) : events.at(-1))?.at ?? createdAt
  const from = submitted?.at ?? Math.max(createdAt, events[0]?.at ?? createdAt)
  return { from, to: Math.max(last, from + 1), hasEnded, isCut: submitted === undefined }
}

const none = (): Taken => ({ workers: 0, requeued: 0, lostMs: 0 })

function add(taken: Taken, { requeued, lostMs }: { requeued: number; lostMs: number }): void {
  taken.workers++
  taken.requeued += requeued
  taken.lostMs += lostMs
}

export const poolName = ({ site, device }: { site: string; device: string }): string => `${site}: ${device}`

/** How many workers there were, from their comings and goings; each sample sets it right. */
function workerSteps(events: readonly FactoryEvent[]): Step[] {
  const now: Record<string, number> = {}
  const steps: Step[] = []
  for (const event of events) {
    switch (event.type) {
      case 'worker-registered':
      case 'worker-returned':
        now[poolName(event)] = (now[poolName(event)] ?? 0) + 1
        break
      case 'worker-lost':
      case 'worker-evicted':
      case 'worker-left':
        now[poolName(event)] = Math.max(0, (now[poolName(event)] ?? 0) - 1)
        break
      case 'factory-started':
        for (const key of Object.keys(now)) now[key] = 0
        break
      case 'sample':
        for (const key of Object.keys(now)) now[key] = 0
        for (const pool of event.pools) now[poolName(pool)] = pool.workers
        break
      default:
        continue
    }
    steps.push({ at: event.at, values: { ...now } })
  }
  return steps
}

function slotSteps(events: readonly FactoryEvent[]): Step[] {
  return events.flatMap((event): Step[] => {
    if (event.type === 'factory-started' || event.type === 'factory-stopped')
      return [{ at: event.at, values: {} }]
    if (event.type !== 'sample') return []
    const sum = (use: 'fetching' | 'loading' | 'working' | 'idle') =>
      event.pools.reduce((total, pool) => total + pool[use], 0)
    const values = {
      working: sum('working'),
      loading: sum('loading'),
      fetching: sum('fetching'),
      idle: sum('idle'),
    }
    return [{ at: event.at, values }]
  })
}

function progressSteps(
  { id, done, failed }: JobInfo,
  events: readonly FactoryEvent[],
  from: number,
  to: number,
  hasEnded: boolean,
): Step[] {
  const steps: Step[] = [{ at: from, values: { done: 0, failed: 0 } }]
  for (const event of events)
    if ((event.type === 'job-progress' || event.type === 'job-ended') && event.job === id)
      steps.push({ at: event.at, values: { done: event.done, failed: event.failed } })
  if (!hasEnded || steps.length === 1) steps.push({ at: to, values: { done, failed } })
  return steps
}

/** What held at `from`, and what changed until `to`. */
function clip(steps: readonly Step[], from: number, to: number): Step[] {
  const before = steps.findLast(({ at }) => at <= from)
  const during = steps.filter(({ at }) => at > from && at <= to)
  return [...(before ? [{ ...before, at: from }] : []), ...during]
}

/** The difference of the totals at both ends of a span, by the samples around it. */
function poolTimes(events: readonly FactoryEvent[], from: number, to: number): PoolTime[] {
  const samples = events.filter((event) => event.type === 'sample')
  const before = samples.findLast(({ at }) => at <= from)?.pools ?? []
  const after = (samples.find(({ at }) => at >= to) ?? samples.at(-1))?.pools ?? []
  const start = new Map(before.map((pool) => [poolName(pool), pool]))
  return after
    .map(({ site, device, spentMs, energyJ }) => {
      const then = start.get(poolName({ site, device }))
      const energy = energyJ === undefined ? {} : { energyJ: Math.max(0, energyJ - (then?.energyJ ?? 0)) }
      return { site, device, spentMs: difference(spentMs, then?.spentMs), ...energy }
    })
    .filter(({ spentMs }) => totalOf(spentMs) > 0)
}

const PHASES = ['boot', 'fetch', 'load', 'inference', 'idle', 'lost'] as const satisfies (keyof SlotTime)[]

function difference(after: Pool['spentMs'], before: Pool['spentMs'] | undefined): SlotTime {
  return mapPhases((phase) => Math.max(0, after[phase] - (before?.[phase] ?? 0)))
}

export function sumTimes(times: readonly SlotTime[]): SlotTime {
  return mapPhases((phase) => times.reduce((sum, each) => sum + each[phase], 0))
}

const mapPhases = (value: (phase: keyof SlotTime) => number) =>
  Object.fromEntries(PHASES.map((phase) => [phase, value(phase)])) as SlotTime

export const totalOf = (spent: SlotTime): number => Object.values(spent).reduce((sum, ms) => sum + ms, 0)

/**
 * The slot time that a job would have taken beside what it took, had each batch of so many tasks loaded its context anew: by
 * what loading took where it was measured. Undefined if it was not.
 */
export function savingOf({ context, job }: Report, batch: number): number | undefined {
  if (context.loads === 0) return undefined
  const loads = Math.ceil((job.done + job.failed) / batch)
  return Math.max(0, loads - context.loads) * (context.loadMs / context.loads)
}

/** Sums up results by the node that they came from. */
export async function timeNodes(
  timings: AsyncIterable<Timing> | Iterable<Timing>,
  events: readonly FactoryEvent[],
): Promise<NodeTimes[]> {
  const workers = new Map<string, { node: string; site: string; device: string }>()
  for (const event of events) if ('device' in event) workers.set(event.worker, event)
  const sums = new Map<string, NodeTimes & { ms: number }>()
  for await (const { worker, ms, status } of timings) {
    const where = workers.get(worker ?? '')
    if (!where) continue
    const { node, site, device } = where
    const sum = sums.get(node) ?? { node, site, device, tasks: 0, failed: 0, meanMs: 0, ms: 0 }
    sums.set(node, sum)
    sum.tasks++
    sum.ms += ms
    if (status !== 'done') sum.failed++
  }
  return [...sums.values()].map(({ ms, ...times }) => ({ ...times, meanMs: ms / times.tasks }))
}
