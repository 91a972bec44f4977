import { z } from 'zod'
import { ShellId } from './channels/shell-frames.ts'
import { HostName, Joules, limits, Milliseconds, Name, Serial, Sha256, Timestamp } from './primitives.ts'
import { JobState } from './client.ts'
import { Level } from './contexts/context.ts'
import { Traceparent } from './trace-context.ts'
import { WorkerId } from './worker.ts'

/*
 * What happens in a factory, as its ledger keeps it. Few things make an event, and none of them is a task: tasks are counted in
 * `job-progress` and `sample`, which hold totals since the ledger was made, so that leaving some out loses detail and no sums.
 */

const text = z.string().max(limits.errorText)
const Count = z.int().nonnegative()
const PilotId = z.string().regex(/^p[0-9]+$/)

/** Every event has its place in the ledger, and the manager's time. Cursors grow; times may go back after a restart. */
const base = { cursor: Serial, at: Timestamp }
const worker = {
  worker: WorkerId,
  pilot: PilotId,
  site: Name,
  node: HostName,
  /** What its slots are: `cpu`, or the accelerator's name as its driver gives it. */
  device: z.string().max(200),
  slots: Count,
}
const context = { context: Name, contextId: Sha256 }
const job = { job: Serial }
const trace = { traceparent: Traceparent.optional() }
const shell = { shell: ShellId, pilot: PilotId, site: Name }
/** Tasks that went back to the queue, and slot time whose work came to nothing, milliseconds: what its slots did since its last results. */
const loss = {
  requeued: Count,
  lostMs: Milliseconds,
  /** What its GPUs have drawn in all, joules; absent where their driver does not tell. */
  energyJ: Joules.optional(),
}

/** Slot time by what it went into, milliseconds: elapsed time times slots. */
export const SlotTime = z.object({
  /** From the start of the pilot's script to the registration of its worker. */
  boot: Milliseconds,
  /** With nothing to work with, while files came. */
  fetch: Milliseconds,
  /** Loading contexts. */
  load: Milliseconds,
  /** With tasks in hand whose results came. */
  inference: Milliseconds,
  idle: Milliseconds,
  /** With tasks in hand whose results never came from there. */
  lost: Milliseconds,
})
export type SlotTime = z.infer<typeof SlotTime>

/** Workers of one site with the same kind of slots. */
export const Pool = z.object({
  site: Name,
  device: z.string().max(200),
  /** Workers and slots there now, and slots by what they do now. */
  workers: Count,
  slots: Count,
  fetching: Count,
  loading: Count,
  working: Count,
  idle: Count,
  /** Since the ledger was made. */
  spentMs: SlotTime,
  /** What their GPUs have drawn since the ledger was made, joules; absent where no driver tells. */
  energyJ: Joules.optional(),
})
export type Pool = z.infer<typeof Pool>

const variants = [
  z.object({ ...base, type: z.literal('factory-started'), version: z.string().max(100) }),
  z.object({ ...base, type: z.literal('factory-stopped') }),

  z.object({
    ...base,
    type: z.literal('pilot-submitted'),
    pilot: PilotId,
    site: Name,
    batchJob: z.string().max(200),
  }),
  z.object({
    ...base,
    type: z.literal('pilot-ended'),
    pilot: PilotId,
    site: Name,
    reason: z.string().max(1000),
  }),

  z.object({
    ...base,
    type: z.literal('worker-registered'),
    ...worker,
    /** Time the pilot waited in the queue, and from the start of its script to here; milliseconds. */
    queuedMs: Milliseconds.optional(),
    bootMs: Milliseconds,
    /** How often the batch system had started the pilot before. */
    restarts: Count,
  }),
  /** It speaks again: it had been given up, or the factory was started anew. */
  z.object({ ...base, type: z.literal('worker-returned'), ...worker }),
  /** It fell silent. */
  z.object({ ...base, type: z.literal('worker-lost'), ...worker, ...loss }),
  /** It was told that its node is taken back, at once or at the end of its time, and left. */
  z.object({
    ...base,
    type: z.literal('worker-evicted'),
    ...worker,
    ...loss,
    reason: z.enum(['eviction', 'walltime']),
  }),
  /** It left because it was asked to, or had nothing to do. */
  z.object({
    ...base,
    type: z.literal('worker-left'),
    ...worker,
    ...loss,
    reason: z.enum(['drain', 'idle']),
  }),
  /** It only failed tasks that others do, and is drained; its node is left out. */
  z.object({
    ...base,
    type: z.literal('node-avoided'),
    worker: WorkerId,
    site: Name,
    node: HostName,
    failures: Count,
  }),

  /** A context came to another level on a worker. */
  z.object({
    ...base,
    type: z.literal('context-level'),
    ...worker,
    ...context,
    from: Level,
    level: Level,
    /** Time that the worker spent on it since its last level, milliseconds; loading is summed over its slots. */
    fetchMs: Milliseconds,
    loadMs: Milliseconds,
    /** Memory that one library of it takes, bytes. */
    memory: z.int().nonnegative().optional(),
  }),
  /** A worker could not bring it up. */
  z.object({
    ...base,
    type: z.literal('context-failed'),
    ...worker,
    ...context,
    message: text,
    attempts: Count,
  }),
  /** Its setup fails everywhere. */
  z.object({ ...base, type: z.literal('context-broken'), ...context, message: text }),
  z.object({ ...base, type: z.literal('context-added'), ...context }),
  z.object({ ...base, type: z.literal('context-dropped'), ...context }),

  z.object({
    ...base,
    type: z.literal('job-submitted'),
    ...job,
    name: z.string().max(200),
    ...context,
    function: Name,
    ...trace,
  }),
  /** Tasks it has, and how many of them have ended. */
  z.object({ ...base, type: z.literal('job-progress'), ...job, tasks: Count, done: Count, failed: Count }),
  z.object({
    ...base,
    type: z.literal('job-ended'),
    ...job,
    name: z.string().max(200),
    state: JobState.exclude(['open']),
    tasks: Count,
    done: Count,
    failed: Count,
    ...trace,
  }),
  /** One that had ended goes on: it got more tasks, or those that failed are run again. */
  z.object({ ...base, type: z.literal('job-reopened'), ...job, name: z.string().max(200), ...trace }),
  /** A worker is gone that had tasks of the job in hand: they are queued again. */
  z.object({ ...base, type: z.literal('attempts-lost'), ...job, ...worker, tasks: Count }),

  /** It submits nothing until something changes. */
  z.object({
    ...base,
    type: z.literal('shell-opened'),
    ...shell,
    /** Who, as their own machine says, and from which address. */
    user: z.string().max(200),
    address: z.string().max(100).optional(),
    /** The program, without its arguments, which may be secret; absent for a login shell. */
    program: z.string().max(200).optional(),
    terminal: z.boolean(),
  }),
  z.object({ ...base, type: z.literal('shell-closed'), ...shell, how: z.string().max(200), ms: Count }),
  z.object({ ...base, type: z.literal('site-paused'), site: Name, reason: text }),
  /** It submits nothing until `retryAt`. */
  z.object({ ...base, type: z.literal('site-backoff'), site: Name, reason: text, retryAt: Timestamp }),
  z.object({ ...base, type: z.literal('site-resumed'), site: Name }),

  /** How things stand, every few seconds while something changes. */
  z.object({
    ...base,
    type: z.literal('sample'),
    tasks: z.object({
      queued: Count,
      leased: Count,
      /** Results since the ledger was made. */
      done: Count,
      failed: Count,
    }),
    /** Pilots by site as its queue shows them; those that are not configured any more are not among them. */
    sites: z.array(z.object({ site: Name, pending: Count, running: Count, held: Count })),
    pools: z.array(Pool),
  }),
] as const

/** Something that happened in a factory; `type` says what. */
export const FactoryEvent = z.discriminatedUnion('type', variants)
export type FactoryEvent = z.infer<typeof FactoryEvent>
export type EventType = FactoryEvent['type']
export const EVENT_TYPES = variants.map(({ shape }) => shape.type.value) as [EventType, ...EventType[]]
/** The event of that type. */
export type EventOf<Type extends EventType> = Extract<FactoryEvent, { type: Type }>

type New<Event> = Event extends FactoryEvent ? Omit<Event, 'cursor' | 'at'> : never
/** An event before it has its time and its place in the ledger. */
export type NewEvent = New<FactoryEvent>

/** Most events in one answer. */
export const EVENTS_AT_ONCE = 10_000

/**
 * `GET /v1/events?after=CURSOR&limit=N&job=J&site=S&type=T,U&waitMs=MS`: what came after a cursor, oldest first. `last=N` in place
 * of `after` begins that many events before the end; `waitMs` waits for the next one if there is none. With `Accept: text/event-stream` the same as server-sent events, each with its cursor
 * as its id, from there on and as they come; `Last-Event-ID` goes before `after`.
 */
export const EventsResponse = z.object({
  events: z.array(FactoryEvent),
  /** To go on from: the last event that was looked at. */
  cursor: Serial,
  /** There is more to read already. */
  more: z.boolean(),
})
export type EventsResponse = z.infer<typeof EventsResponse>
