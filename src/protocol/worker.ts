import { z } from 'zod'
import { ShellId } from './channels/shell-frames.ts'
import { ContextMode, Level } from './contexts/context.ts'
import { HostName, Joules, Json, limits, Milliseconds, Serial, Sha256, Timestamp } from './primitives.ts'
import { KeptJson } from './json/json-text.ts'
import { type AnyTaskResult, Lease, Progress, ReceivedResult, TaskError, TaskResult } from './task.ts'

/** A worker's identity for as long as its process lives; handed out at registration. */
export const WorkerId = z.string().regex(/^w[0-9]+$/)

/** One GPU, or a share of CPU cores, that works for one context at a time. */
export const Slot = z.object({
  /** `cpu` or the accelerator's name as its driver gives it. */
  device: z.string().max(200),
  cpus: z.number().positive(),
  /** Memory a context may take, bytes: the device's own for a GPU. */
  memory: z.int().nonnegative(),
})
export type Slot = z.infer<typeof Slot>

/** `POST /v1/workers`, authorised by the pilot's one-time token. */
export const RegisterRequest = z.object({
  protocol: z.int(),
  /**
   * 32 random bytes, base64url: the secret part of the session. It makes a request that is sent again, because its answer
   * was lost, get that answer, though the token is spent.
   */
  nonce: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  /** Host name of the node. */
  node: HostName,
  platform: z.string().max(100),
  /** The batch system's own name for this job, e.g. `1234.0` or `1234_5`. */
  jobId: z.string().max(200).optional(),
  /** How often the batch system has started this job before (requeues after evictions). */
  restarts: z.int().nonnegative().max(1_000_000).default(0),
  slots: z.array(Slot).min(1).max(64),
  /** When the batch system will end the pilot, by the worker's clock, and that clock's reading now. */
  deadline: Timestamp.optional(),
  clock: Timestamp,
  /** Where peers can fetch pieces from it, e.g. `http://10.0.0.7:40123`. Absent if it serves none. */
  pieces: z
    .url({ protocol: /^https?$/ })
    .max(300)
    .optional(),
  /** When pilot.sh began, and when the worker was up, by the worker's clock. */
  startedAt: Timestamp,
  bootedAt: Timestamp,
})
export type RegisterRequest = z.infer<typeof RegisterRequest>

export const RegisterResponse = z.object({
  worker: WorkerId,
  /** Bearer token for everything else this worker asks. Secret. */
  session: z.string(),
  /** What the manager's clock shows: the worker's own may be off. */
  clock: Timestamp,
  /** The manager's Ed25519 public key (SPKI, base64): peers show tickets signed with it. */
  ticketKey: z.string().max(200),
  /** The worker counts as gone when the manager has not heard from it for this long, milliseconds. */
  workerTimeoutMs: z.int().positive(),
  /** Work a worker keeps in hand, in milliseconds at its own rate. */
  leaseTargetMs: z.int().positive(),
  /** It leaves after this long without work, milliseconds. */
  idleMs: z.int().positive(),
  /** What of a context is to outlive a task. */
  contextMode: ContextMode,
})
export type RegisterResponse = z.infer<typeof RegisterResponse>

/** What a worker says of one context: where it holds it, or why it cannot. */
export const ContextReport = z.object({
  context: Sha256,
  level: Level,
  /** The slots that hold it loaded, by their place among those registered. */
  loadedIn: z.array(z.int().nonnegative()).max(64).optional(),
  /** What it is busy with on the way up. */
  doing: z.enum(['fetching', 'loading']).optional(),
  /** Pieces on disk and in all, while fetching. */
  bytesHeld: z.int().nonnegative().optional(),
  bytesTotal: z.int().nonnegative().optional(),
  /** Time spent so far on this worker, milliseconds. */
  fetchMs: Milliseconds.optional(),
  loadMs: Milliseconds.optional(),
  /** Memory the loaded context takes, bytes. */
  memory: z.int().nonnegative().optional(),
  /** How often this worker has tried to bring it up, this time included. */
  attempts: z.int().nonnegative().default(0),
  /** The last attempt failed; the worker tries no more until it is asked again. */
  error: TaskError.optional(),
})
export type ContextReport = z.infer<typeof ContextReport>

/**
 * `POST /v1/workers/:id/exchange`: the one verb of a running worker. One at a time per worker.
 *
 * Safe to repeat: `seq` grows by one with each new request and stays the same when one is sent again. A lease granted in
 * an answer that never arrived is not among the `leases` of the next request, which gives its tasks back at once.
 */
export const ExchangeRequest = z.object({
  seq: Serial,
  results: z.array(TaskResult).max(limits.batch),
  /** Every lease with tasks still in hand. */
  leases: z.array(Serial).max(10_000),
  contexts: z.array(ContextReport).max(1000),
  /** How far the tasks are that say so. */
  progress: z
    .array(Progress.extend({ task: Serial }))
    .max(1000)
    .optional(),
  /**
   * How many more tasks it could take, per context that is loaded and ready; and how many it must have in hand, at `least`,
   * for its libraries to be busy.
   */
  want: z
    .array(
      z.object({
        context: Sha256,
        tasks: z.int().nonnegative().max(limits.batch),
        least: z.int().nonnegative().max(limits.batch).optional(),
      }),
    )
    .max(1000),
  /** Tasks it finishes per second, measured over the last while; 0 if unknown. */
  rate: z.number().nonnegative().max(1e9),
  /** What its GPUs have drawn since it began, joules; absent where their driver does not tell. */
  energyJ: Joules.optional(),
  /** How long the manager may hold the answer back while there is nothing to say, milliseconds. */
  waitMs: z.int().nonnegative().max(limits.wait),
  /** It takes no more work and will be gone soon; why. */
  leaving: z.enum(['drain', 'idle', 'eviction', 'walltime']).optional(),
})
export type ExchangeRequest = z.infer<typeof ExchangeRequest>

/** The same as the manager takes it in. */
export const ReceivedExchange = ExchangeRequest.extend({ results: z.array(ReceivedResult).max(limits.batch) })

/** The same whatever is known of the values of its results. */
export type AnyExchangeRequest = Omit<ExchangeRequest, 'results'> & { results: AnyTaskResult[] }

/**
 * `POST /v1/workers/:id/parts`: what tasks give of their values ahead of them, for clients that wait. It does not wait for the
 * exchange that is open. Safe to repeat, and of no consequence if it is lost: the value has everything.
 */
export const PartsRequest = z.object({
  parts: z
    .array(
      z.object({
        task: Serial,
        lease: Serial,
        /** Counts the parts of a task under a lease from 0. */
        n: Serial,
        part: Json,
      }),
    )
    .min(1)
    .max(limits.parts),
})
export type PartsRequest = z.infer<typeof PartsRequest>

/** The same as the manager takes it in: it has no use for the parts but to pass them on. */
export const ReceivedParts = PartsRequest.extend({
  parts: z
    .array(PartsRequest.shape.parts.element.extend({ part: KeptJson }))
    .min(1)
    .max(limits.parts),
})
export type ReceivedPart = z.infer<typeof ReceivedParts>['parts'][number]

export const PartsResponse = z.object({
  /** Tasks whose parts have no reader: further ones need not be sent. */
  unread: z.array(Serial).max(limits.parts),
  /** Those of them that are the worker's no longer: its next exchange says what to do with them. */
  lost: z.array(Serial).max(limits.parts),
})
export type PartsResponse = z.infer<typeof PartsResponse>

export const ExchangeResponse = z.object({
  leases: z.array(Lease),
  /** Tasks in hand that are no longer needed. */
  cancel: z.array(Serial),
  /** Leases that are no longer its own: forget those of their tasks that have not begun. What has begun may be reported. */
  revoke: z.array(Serial),
  /**
   * Contexts to work for, most wanted first, and to bring up if they are not; what else is loaded stays for as long as it
   * fits. One whose setup failed is listed again when it should be tried again.
   */
  warm: z.array(Sha256),
  /** Contexts whose files to bring here ahead, though nothing is to be loaded yet. */
  ahead: z.array(Sha256),
  /** Contexts to let go of, loaded and on disk, once nothing uses them. */
  discard: z.array(Sha256),
  /** Contexts of `warm` to try at once, however often and lately they failed here: a user asks for them again. */
  again: z.array(Sha256).default([]),
  /** Shells that users want in this pilot and that it has not opened yet. */
  shells: z.array(ShellId).max(100).default([]),
  /** Take no more work, finish or return what is in hand, and leave. */
  drain: z.boolean(),
})
export type ExchangeResponse = z.infer<typeof ExchangeResponse>
