import { z } from 'zod'
import { Milliseconds, Timestamp } from './primitives.ts'

/*
 * What a probe, which a doctor has submitted in place of a worker, says of the node that it runs on. It says it to the doctor's
 * server, and in its log, from where the doctor has it when the node cannot reach the server.
 */

const Text = z.string().max(2_000)

/** Whether a library, a provider or an address could be used; if not, why. */
const Trial = z.object({ name: Text, ok: z.boolean(), said: Text.optional() })
export type Trial = z.infer<typeof Trial>

/** What one node is like. */
export const NodeReport = z.object({
  kind: z.literal('report'),
  pilot: Text,
  node: Text,
  /** Where other probes can dial this one. */
  port: z.int(),
  cpus: z.number(),
  /** Variables that name proxies. */
  proxies: z.record(z.string().max(100), Text),
  cache: z.object({ folder: Text, freeBytes: z.number().optional(), filesystem: Text.optional() }),
  gpus: z.object({
    /** As the batch system names those of this job. */
    given: z.array(Text).max(64),
    /** What drivers show, one line each: name, memory, driver. */
    shown: z.array(Text).max(64),
    /** Files of devices. */
    devices: z.array(Text).max(100),
  }),
  libraries: z.array(Trial).max(30),
  providers: z.array(Trial).max(30),
  /** Versions of programs; absent ones are not here. */
  programs: z.record(z.string().max(100), Text),
  /** The clock of the node, milliseconds since 1970, and how long it took to gather all this. */
  clock: Timestamp,
  tookMs: Milliseconds,
})
export type NodeReport = z.infer<typeof NodeReport>

/** A probe is there, and for how long since it was told to leave. */
const StillThere = z.object({
  kind: z.literal('alive'),
  pilot: Text,
  clock: Timestamp,
  /** How long the last answer of the server took to come, milliseconds. */
  roundTripMs: Milliseconds.optional(),
  sinceToldMs: Milliseconds.optional(),
})

/** What came of trying to reach another machine. */
const Reached = z.object({
  kind: z.literal('reached'),
  pilot: Text,
  of: z.enum(['manager', 'peer']),
  trial: Trial,
})
export type Reached = z.infer<typeof Reached>

export const ProbeMessage = z.discriminatedUnion('kind', [NodeReport, StillThere, Reached])
export type ProbeMessage = z.infer<typeof ProbeMessage>

/** What the doctor's server answers. */
export const ProbeAnswer = z.object({
  clock: Timestamp,
  /** What is to be tried from the node: `http(s)://…` of the manager, `HOST:PORT` of peers. */
  manager: z.string().optional(),
  peers: z.array(z.string()).max(10),
})
export type ProbeAnswer = z.infer<typeof ProbeAnswer>

/** Begins each line of a probe's log that holds a message. */
export const PROBE_LINE = 'gleaner-probe: '
