import { z } from 'zod'
import { BlobRefs } from './blob.ts'
import { ContextSpec } from './contexts/context.ts'
import { Json, limits, Serial } from './primitives.ts'
import { Progress, TaskError } from './task.ts'
import { Traceparent } from './trace-context.ts'

/*
 * Worker and library talk in lines of JSON over one socket pair, the library's file descriptor 3, so that a library can
 * be written in any language and its standard output stays free for what user code prints.
 */

/** File descriptor of the socket in the library's process. */
export const LIBRARY_FD = 3

/** The GPUs of a slot. */
export const SlotGpus = z.object({
  /** How many it has, or shares; 0 where it has processors only. */
  count: z.int().nonnegative(),
  /** Memory that libraries may take there together, bytes; 0 if it is not known. */
  memory: z.number().nonnegative(),
  /** The driver shows more of them, which are not for this slot: what counts GPUs by itself, as Vulkan does, may take another one. */
  hasOthers: z.boolean(),
})
export type SlotGpus = z.infer<typeof SlotGpus>

/** A slot without any. */
export const NO_GPUS: SlotGpus = { count: 0, memory: 0, hasOthers: false }

/** From the worker. `setup` comes once, first. The end of the stream means: close and exit. */
export const ToLibrary = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('setup'),
    context: ContextSpec,
    /** Folder of each of the context's bundles, by its name in the context. */
    bundles: z.record(z.string(), z.string()),
    /** Folder in which it finds the blobs of its calls, and leaves those of their results; see bundle/blobs.ts. */
    blobs: z.string(),
    gpus: SlotGpus,
    /** CPU threads it may use. */
    threads: z.int().positive(),
    /** The slot's accelerator, or `cpu`. */
    device: z.string(),
    /** How many libraries before it ran out of memory: it takes half as much for each. Default: 0. */
    halvings: z.int().min(0).optional(),
  }),
  z.object({
    type: z.literal('call'),
    function: z.string(),
    calls: z.array(
      z.object({
        id: z.int(),
        input: Json,
        /** The task's span, for kinds that pass it on. */
        traceparent: Traceparent.optional(),
      }),
    ),
  }),
  /** Calls that are still queued are forgotten; one that runs may end early, or finish. */
  z.object({ type: z.literal('cancel'), ids: z.array(z.int()) }),
])
export type ToLibrary = z.infer<typeof ToLibrary>

/** From the library. One `ready` or `failed` answers `setup`. */
export const FromLibrary = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ready'), level: z.enum(['memory', 'device']), loadMs: z.number() }),
  z.object({ type: z.literal('failed'), error: TaskError }),
  /** Calls of these ids have begun; the others wait in the library's queue. */
  z.object({ type: z.literal('begun'), ids: z.array(z.int()) }),
  /** How far calls are that say so; now and then, and only the last word of each. */
  z.object({ type: z.literal('progress'), calls: z.array(Progress.extend({ id: z.int() })) }),
  /** What calls give of their values ahead of them, in order: `n` counts the parts of each from 0. */
  z.object({
    type: z.literal('parts'),
    parts: z.array(z.object({ id: z.int(), n: Serial, part: Json })),
  }),
  z.object({
    type: z.literal('ended'),
    calls: z.array(
      z.object({
        id: z.int(),
        /** Exactly one of the two. */
        value: Json.optional(),
        /** Blobs that the value refers to. */
        blobs: BlobRefs.optional(),
        error: TaskError.optional(),
        /** The end of what the call printed, if it did. */
        log: z.string().max(limits.log).optional(),
      }),
    ),
    /** Time the library spent on these calls together, milliseconds. */
    ms: z.number().nonnegative(),
  }),
])
export type FromLibrary = z.infer<typeof FromLibrary>

/** Longest line either side accepts, bytes. */
export const LIBRARY_LINE_MAX = limits.body
