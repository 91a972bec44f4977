import { z } from 'zod'
import { Traceparent } from './trace-context.ts'

/** One reason why something is as it is. */
export const Reason = z.object({
  /** Stays the same over versions, for programs; docs/cli.md lists them. */
  code: z.string(),
  /** A plain sentence. */
  text: z.string(),
  /** What to do about it, if there is something. */
  advice: z.string().optional(),
})
export type Reason = z.infer<typeof Reason>

/** `GET /v1/jobs/:id/explanation?key=KEY`: why a job, or one task of it, is not running or not finished. */
export const JobExplanation = z.object({
  job: z.int(),
  key: z.string().optional(),
  /** The trace of the job or task. */
  traceparent: Traceparent.optional(),
  /** How it stands, in a sentence. */
  summary: z.string(),
  reasons: z.array(Reason),
})
export type JobExplanation = z.infer<typeof JobExplanation>

/** `GET /v1/sites/:name/explanation`: why a site has the pilots it has, and no more. */
export const SiteExplanation = z.object({
  site: z.string(),
  summary: z.string(),
  reasons: z.array(Reason),
})
export type SiteExplanation = z.infer<typeof SiteExplanation>
