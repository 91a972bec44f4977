import { z } from 'zod'
import {
  BackupResponse,
  CreateKeyResponse,
  JobErrors,
  JobInfo,
  KeyInfo,
  ReloadResponse,
  RetryResponse,
} from '../../protocol/client.ts'
import { BundleId } from '../../protocol/bundle.ts'
import { Name } from '../../protocol/primitives.ts'
import { ContextSpec } from '../../protocol/contexts/context.ts'
import { FactoryEvent, Pool, SlotTime } from '../../protocol/events.ts'
import { JobExplanation, SiteExplanation } from '../../protocol/explanation.ts'
import { PilotStatus, SiteStatus, Status } from '../../protocol/status.ts'

/*
 * What each command prints with --json. Names and meanings stay; keys may be added. docs/json.md is made of it, and tests compare
 * what commands print with it.
 */

const BundleKind = z.enum(['files', 'tarball'])

/** How a run went. */
const RunResult = z.object({
  job: JobInfo,
  /** The file that has the results. */
  output: z.string(),
  /** Results in it, by how they ended. */
  done: z.int(),
  failed: z.int(),
  /** Of these, results that an earlier run had written. */
  resumed: z.int(),
  /** Lines that had changed since the earlier run. */
  changed: z.int(),
  /** Lines that are no tasks. */
  invalid: z.int(),
  /** How long it took, milliseconds. */
  ms: z.int(),
  errors: JobErrors,
  stopped: z.enum(['first-failure', 'all-alike']).optional(),
  /** From 0 to 1. */
  accuracy: z.number().optional(),
})
export type RunResult = z.infer<typeof RunResult>

export const Finding = z.object({
  check: z.string(),
  site: z.string().optional(),
  verdict: z.enum(['ok', 'warning', 'error']),
  text: z.string(),
  why: z.string().optional(),
  fix: z.string().optional(),
})

const Step = z.object({ at: z.number(), values: z.record(z.string(), z.number()) })
const Taken = z.object({ workers: z.int(), requeued: z.int(), lostMs: z.number() })

/** What became of a job. */
const ReportShape = z.object({
  job: JobInfo,
  from: z.number(),
  to: z.number(),
  hasEnded: z.boolean(),
  isCut: z.boolean(),
  otherJobs: z.int(),
  workers: z.array(Step),
  slots: z.array(Step),
  progress: z.array(Step),
  pools: z.array(Pool.pick({ site: true, device: true, spentMs: true, energyJ: true })),
  spent: SlotTime,
  taken: z.object({ evicted: Taken, lost: Taken }),
  attemptsLost: z.int(),
  context: z.object({ loads: z.int(), loadMs: z.number(), fetches: z.int(), fetchMs: z.number() }),
  errors: JobErrors,
  nodes: z.array(
    z.object({
      node: z.string(),
      site: z.string(),
      device: z.string(),
      tasks: z.int(),
      failed: z.int(),
      meanMs: z.number(),
    }),
  ),
})

/** The shape of what each command prints with --json, by the command. */
export const jsonShapes = {
  'factory init': z.object({
    /** The state folder, and in it the configuration and the example context. */
    state: z.string(),
    config: z.string(),
    context: z.string(),
  }),
  'factory stop': z.object({ stopped: z.literal(true) }),
  'factory submit': z.object({
    /** Where the files would be, and they themselves. */
    folder: z.string(),
    files: z.array(z.object({ name: z.string(), content: z.string() })),
    command: z.array(z.string()),
    warnings: z.array(z.string()),
    /** What the batch system says of it, with --check. */
    check: z.object({ accepted: z.boolean(), said: z.string() }).optional(),
  }),
  'factory login': z.object({
    site: Name,
    /** The submit node. */
    host: z.string(),
    /** There is a login there now. */
    loggedIn: z.boolean(),
  }),
  'factory run': RunResult,
  'factory status': Status,
  'factory reload': ReloadResponse,
  'factory jobs list': z.array(JobInfo),
  'factory jobs show': z.object({ job: JobInfo, errors: JobErrors }),
  'factory report': ReportShape,
  'factory errors': JobErrors,
  'factory doctor': z.object({ findings: z.array(Finding) }),
  'factory explain': z.union([JobExplanation, SiteExplanation]),
  'factory sites list': z.array(SiteStatus),
  'factory sites pause': SiteStatus,
  'factory sites drain': SiteStatus,
  'factory sites resume': SiteStatus,
  'factory pilots': z.array(PilotStatus),
  'factory workers': Status.shape.workers,
  /** One a line. */
  'factory events': FactoryEvent,
  'factory retry': RetryResponse,
  'factory cancel': JobInfo,
  'factory forget': JobInfo,
  'factory context add': ContextSpec,
  'factory context warm': ContextSpec,
  'factory context drop': ContextSpec,
  'factory context list': z.array(ContextSpec),
  'factory bundle create': z.object({
    id: BundleId,
    name: Name.optional(),
    kind: BundleKind,
    files: z.int(),
    bytes: z.int(),
    /** What it is, as far as contexts in Python can run in it. */
    environment: z.string().optional(),
  }),
  'factory bundle list': z.array(
    z.object({
      id: BundleId,
      name: Name.optional(),
      kind: BundleKind,
      files: z.int(),
      bytes: z.int(),
      complete: z.boolean(),
      /** Milliseconds since 1970. */
      usedAt: z.number(),
    }),
  ),
  'factory bundle verify': z.object({
    id: BundleId,
    intact: z.boolean(),
    damage: z.array(z.object({ path: z.string(), badPieces: z.int() })),
  }),
  'factory bundle remove': z.object({ id: BundleId }),
  'factory key create': CreateKeyResponse,
  'factory key list': z.array(KeyInfo),
  'factory key revoke': KeyInfo,
  'factory backup': BackupResponse.extend({ file: z.string() }),
  'factory config check': z.object({
    files: z.array(z.string()),
    sites: z.array(z.string()),
    warnings: z.array(z.string()),
  }),
  /** As factory.yaml, with all defaults: "factory config schema" has it in full. */
  'factory config show': z.object({
    files: z.array(z.string()),
    manager: z.record(z.string(), z.unknown()),
    contexts: z.array(z.string()),
    sites: z.record(z.string(), z.unknown()),
  }),
} satisfies Record<string, z.ZodType>
