import { join } from 'node:path'
import { z } from 'zod'
import { type HtcondorSiteConfig, templateVariables } from '../config/config.ts'
import type { Submission } from '../submissions/submission.ts'
import { classAdQuote, renderTemplate, shippedTemplate } from '../submissions/submit-template.ts'
import type { CommandResult, Transport } from '../transports/transport.ts'
import { type Job, type JobState, type Site, SubmitRefused } from './site.ts'

/** Variables that name the pool to HTCondor's commands, and the files by which they prove who asks. */
export const htcondorVariables = [
  'CONDOR_CONFIG',
  'BEARER_TOKEN_FILE',
  'X509_USER_PROXY',
  'X509_USER_CERT',
  'X509_USER_KEY',
]

/** What we ask of each job's ClassAd. Attributes that a job does not have are left out of the answer. */
const Ad = z.object({
  ClusterId: z.int(),
  ProcId: z.int(),
  JobStatus: z.int(),
  GleanerPilot: z.string(),
  HoldReason: z.string().optional(),
  LastRejMatchReason: z.string().optional(),
  RemoteHost: z.string().optional(),
})

/** HTCondor's JobStatus as our states. */
const states: Record<number, JobState> = {
  1: 'pending',
  2: 'running',
  3: 'ending',
  4: 'ending',
  5: 'held',
  6: 'running', // transferring output
  7: 'running', // suspended
}

/** Pilots as HTCondor jobs, one cluster for each submission, told apart by attributes of their own. */
export function htcondorSite(config: HtcondorSiteConfig, factoryId: string, transport: Transport): Site {
  const ours = `GleanerFactory == ${classAdQuote(factoryId)} && GleanerSite == ${classAdQuote(config.name)}`

  const variables = (submission: Submission) => ({
    site: {
      ...templateVariables(config),
      requirements: [
        ...(config.requirements ? [`(${config.requirements})`] : []),
        ...submission.avoidNodes.map((node) => `TARGET.Machine =!= ${classAdQuote(node)}`),
      ].join(' && '),
    },
    submission: { ...submission, factory: factoryId },
  })

  const command = (submission: Submission) => [
    'condor_submit',
    '-terse',
    join(submission.folder, 'htcondor.sub'),
  ]

  return {
    lateness: 60_000,

    render: (submission) => ({
      name: 'htcondor.sub',
      content: renderTemplate(config.template ?? shippedTemplate('htcondor.sub'), variables(submission)),
    }),

    command,

    async submit(submission, signal) {
      const { code, stdout, stderr } = await transport.run(command(submission), {
        cwd: submission.folder,
        signal,
      })
      if (code !== 0) throw new SubmitRefused(`condor_submit: ${oneLine(stderr) || `exit code ${code}`}`)
      const cluster = /^(\d+)\.0 - \1\.\d+\s*$/m.exec(stdout)?.[1]
      if (!cluster) throw new Error(`condor_submit answered ${JSON.stringify(stdout.slice(0, 200))}`)
      return submission.pilots.map((pilot, index) => ({ pilot, jobId: `${cluster}.${index}` }))
    },

    async list(signal) {
      const attributes = Object.keys(Ad.shape).join(',')
      const query = ['condor_q', '-json', '-constraint', ours, '-attributes', attributes]
      const { stdout } = succeed(await transport.run(query, { signal }))
      // An empty queue is an empty answer, not an empty list.
      const ads = Ad.array().parse(stdout.trim() ? JSON.parse(stdout) : [])
      return ads.map(toJob)
    },

    async remove(jobs, { unlessRunning, signal }) {
      const pilots = jobs.map(({ pilot }) => classAdQuote(pilot)).join(', ')
      const which = `${ours} && member(GleanerPilot, {${pilots}})${unlessRunning ? ' && (JobStatus == 1 || JobStatus == 5)' : ''}`
      const result = await transport.run(['condor_rm', '-constraint', which], { signal })
      // It also fails when there was nothing left to remove.
      if (!/couldn't find|no jobs|not found/i.test(result.stderr)) succeed(result)
    },
  }
}

function toJob(ad: z.infer<typeof Ad>): Job {
  // A job that runs may keep the reasons of its past.
  const reason = ad.JobStatus === 5 ? ad.HoldReason : ad.JobStatus === 1 ? ad.LastRejMatchReason : undefined
  const node = ad.RemoteHost?.replace(/^.*@/, '')
  return {
    jobId: `${ad.ClusterId}.${ad.ProcId}`,
    pilot: ad.GleanerPilot,
    state: states[ad.JobStatus] ?? 'ending',
    ...(reason && { reason: oneLine(reason) }),
    ...(node && { node }),
  }
}

const oneLine = (text: string) => text.trim().replace(/\s*\n\s*/g, ' ')

function succeed(result: CommandResult): CommandResult {
  if (result.code === 0) return result
  throw new Error(oneLine(result.stderr) || `exit code ${result.code}`)
}
