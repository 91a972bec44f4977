import { z } from 'zod'
import { BundleId } from './bundle.ts'

/** Why a source was left out by a worker that fetched from it. */
export const FaultReason = z.enum(['unreachable', 'reset', 'stalled', 'corrupt', 'refused', 'protocol'])
export type FaultReason = z.infer<typeof FaultReason>

/** One source that a worker gave up on. */
export const Fault = z.object({
  /** The source's name as the manager gave it. */
  source: z.string().min(1).max(200),
  reason: FaultReason,
  /** For people. */
  detail: z.string().max(500),
})
export type Fault = z.infer<typeof Fault>

/** A process that serves pieces of one bundle. */
export const Source = z.object({
  /** `manager`, or the peer's worker id. */
  name: z.string().min(1).max(200),
  /** Where its piece routes are mounted, e.g. `http://10.0.0.7:40123`. */
  url: z.url({ protocol: /^https?$/ }).max(300),
  /** The bearer token of its routes. Secret. */
  ticket: z.string().min(1).max(1000),
  /** The manager holds every piece and hands out rare ones first; peers are preferred for all others. */
  kind: z.enum(['manager', 'peer']),
  /** It has each piece before any worker does, as the relay of a site: it is asked as the manager is, as far as it tells what it holds. */
  seeds: z.boolean().optional(),
})
export type Source = z.infer<typeof Source>

/**
 * `POST /v1/workers/:id/sources`: who holds this bundle, or is fetching it, right now. Asked when a fetch begins, at
 * intervals while it runs, and when sources fail; so it also tells the manager how the fetch is going.
 */
export const SourcesRequest = z.object({
  bundle: BundleId,
  /** Sources left out since the last request. */
  faults: z.array(Fault).max(1000),
  /** Bytes checked and on disk, and in all; 0 of 0 before the manifest is there. */
  heldBytes: z.int().nonnegative().default(0),
  totalBytes: z.int().nonnegative().default(0),
  /** Bytes taken so far from each source of this fetch. */
  from: z
    .array(
      z.object({
        source: z
          .string()
          .max(200)
          .regex(/^\P{Cc}*$/u),
        bytes: z.int().nonnegative(),
      }),
    )
    .max(1000)
    .default([]),
})
export type SourcesRequest = z.infer<typeof SourcesRequest>

/**
 * Peers that a worker fetches a bundle from together: enough for full speed and for pieces to get around, few enough that
 * their connections and news cost little. The manager names others in place of those that fail.
 */
export const PEERS = 8

/** Sources in any order: the manager itself, and peers. */
export const SourcesResponse = z.object({ sources: z.array(Source).max(100) })
export type SourcesResponse = z.infer<typeof SourcesResponse>
