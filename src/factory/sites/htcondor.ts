import { z } from 'zod'
import type { HtcondorSiteConfig } from '../config/config.ts'
import { classAdQuote } from '../submissions/submit-template.ts'
import { type BatchKind, excerpt, oneLine } from './batch-kind.ts'
import type { Job, JobState, Listing } from './site.ts'

/** What is good to know but may be anything, or null, in an odd record. */
const text = z.string().optional().catch(undefined)

/** What we ask of each job's ClassAd. Attributes that a job does not have are left out of the answer. */
const Ad = z.object({
  ClusterId: z.int(),
  ProcId: z.int(),
  JobStatus: z.int().optional().catch(undefined),
  GleanerPilot: text,
  HoldReason: text,
  LastRejMatchReason: text,
  RemoteHost: text,
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
export const htcondor: BatchKind<HtcondorSiteConfig> = {
  submitter: 'condor_submit',
  jobFile: 'htcondor.sub',
  sharesFiles: false,
  // Which pool, and the files by which commands prove who asks.
  environment: ['CONDOR_CONFIG', 'BEARER_TOKEN_FILE', 'X509_USER_PROXY', 'X509_USER_CERT', 'X509_USER_KEY'],

  templateValues: ({ config, factoryId }, { avoidNodes }) => ({
    site: {
      requirements: [
        ...(config.requirements ? [`(${config.requirements})`] : []),
        ...avoidNodes.map((node) => `TARGET.Machine =!= ${classAdQuote(node)}`),
      ].join(' && '),
    },
    submission: { factory: factoryId },
  }),

  option: {
    line: (name, value) => `${name} = ${value}`,
    matches: (line, name) => new RegExp(`^\\s*${name}\\s*=`, 'i').test(line),
  },

  check: (file) => ['condor_submit', '-dry-run', '/dev/null', file],
  submit: (file) => ['condor_submit', '-terse', file],
  jobIds(stdout, pilots) {
    const cluster = /^(\d+)\.0 - \1\.\d+\s*$/m.exec(stdout)?.[1]
    return cluster === undefined
      ? undefined
      : Array.from({ length: pilots }, (_, proc) => `${cluster}.${proc}`)
  },
  refusal: {
    definite: /error|refused|denied/i,
    open: /commit|connection|timed? ?out|communicat|socket/i,
    tooMany: /would exceed/i,
  },

  list: ({ config, factoryId, user }) => [
    'condor_q',
    '-json',
    '-constraint',
    // With a constraint, it shows all users' jobs, whatever the pool's default is.
    `Owner == ${classAdQuote(config.owner ?? user)} && GleanerFactory == ${classAdQuote(factoryId)} && GleanerSite == ${classAdQuote(config.name)}`,
    '-attributes',
    Object.keys(Ad.shape).join(','),
  ],

  jobs(stdout) {
    const listing: Listing = { jobs: [], complete: true, oddities: [] }
    // An empty queue is an empty answer, not an empty list. Lines that a wrapper prints are around the list.
    const [around, list] = split(stdout)
    if (around.trim()) listing.oddities.push(`condor_q answered more than jobs: ${excerpt(around.trim())}`)
    for (const record of z.array(z.unknown()).parse(JSON.parse(list ?? '[]'))) {
      const ad = Ad.safeParse(record)
      const job = ad.success ? toJob(ad.data) : undefined
      if (job) listing.jobs.push(job)
      else listing.complete = false
      if (!job || job.state === 'unknown')
        listing.oddities.push(
          `condor_q answered a job that is not understood: ${excerpt(JSON.stringify(record))}`,
        )
    }
    return listing
  },

  remove(jobs, unlessRunning) {
    const byCluster = Map.groupBy(jobs, ({ jobId }) => jobId.split('.')[0]!)
    const which = [...byCluster].map(([cluster, some]) => {
      const procs = some.map(({ jobId }) => jobId.split('.')[1]!)
      return `(ClusterId == ${cluster} && member(ProcId, {${procs.join(', ')}}))`
    })
    const waiting = unlessRunning ? ' && (JobStatus == 1 || JobStatus == 5)' : ''
    return [['condor_rm', '-constraint', `(${which.join(' || ')})${waiting}`]]
  },
  gone: /couldn't find|no jobs|not found/i,
}

/** The list in an answer, if there is one, and what stands around it. @throws if the list, or what should be one, is cut short */
function split(stdout: string): [around: string, list?: string] {
  // A wrapper's own lines may begin with a bracket, too: [INFO] connected.
  const start = stdout.search(/^\[[^\S\n]*(\{|\]|$)/m)
  if (start === -1) {
    if (/^\{|^\]$/m.test(stdout)) throw new Error(`condor_q answered ${excerpt(stdout)}`)
    return [stdout]
  }
  const last = [...stdout.matchAll(/^(?:\[[^\S\n]*)?\][^\S\n]*$/gm)].at(-1)
  const end = last ? last.index + last[0].length : 0
  if (end <= start) throw new Error(`condor_q answered ${excerpt(stdout)}`)
  return [stdout.slice(0, start) + stdout.slice(end), stdout.slice(start, end)]
}

function toJob(ad: z.infer<typeof Ad>): Job {
  // A job that runs may keep the reasons of its past.
  const reason = ad.JobStatus === 5 ? ad.HoldReason : ad.JobStatus === 1 ? ad.LastRejMatchReason : undefined
  const node = ad.RemoteHost?.replace(/^.*@/, '')
  const jobId = `${ad.ClusterId}.${ad.ProcId}`
  return {
    jobId,
    pilot: ad.GleanerPilot ?? `unknown-${jobId}`,
    state: states[ad.JobStatus ?? NaN] ?? 'unknown',
    ...(reason && { reason: oneLine(reason) }),
    ...(node && { node }),
  }
}
