import { z } from 'zod'
import { parseJson } from '../../protocol/primitives.ts'
import type { PbsSiteConfig } from '../config/config.ts'
import { shellQuote } from '../submissions/submit-template.ts'
import { type BatchKind, excerpt } from './batch-kind.ts'
import type { Job, JobState, Listing } from './site.ts'

/** OpenPBS's states (qstat(1B), "job_state") as ours. One that is not named here is alive, whatever it is. */
const states: Record<string, JobState> = {
  Q: 'pending',
  T: 'pending',
  W: 'pending',
  M: 'pending',
  H: 'held',
  B: 'running',
  R: 'running',
  S: 'running',
  U: 'running',
  E: 'ending',
  F: 'ended',
  X: 'ended',
}

/** What is read of `qstat -f -F json`; all else is left alone. */
const Listed = z.object({ Jobs: z.record(z.string(), z.unknown()).default({}) })
const ListedJob = z.looseObject({
  job_state: z.string(),
  array: z.string().optional(),
  array_index: z.union([z.string(), z.number()]).optional(),
  exec_host: z.string().optional(),
  comment: z.string().optional(),
  Variable_List: z.looseObject({ PBS_O_WORKDIR: z.string().optional() }).optional(),
})

const jobNameOf = (factoryId: string, { jobName, name }: PbsSiteConfig) => `${jobName}-${factoryId}-${name}`

/** `qselect` names this user's jobs of that name; without any, `qstat` would show all that there are. */
const LIST = 'ids=$(qselect -x -u "$1" -N "$2") || exit; [ -z "$ids" ] || exec qstat -t -x -f -F json $ids'
/** Of these jobs, those that still wait. */
const REMOVE_WAITING =
  'waiting=" $(qselect -T -s HQTW | tr "\\n" " ") "; some=""; ' +
  'for id; do case $waiting in *" $id "*) some="$some $id" ;; esac; done; [ -z "$some" ] || exec qdel $some'
/** PBS tries no job without taking it: that its server answers, and has the queue, is what can be known. */
const CHECK = 'qstat -B && queue=$(sed -n "s/^#PBS -q //p" "$1") && { [ -z "$queue" ] || qstat -Q "$queue"; }'

/** Pilots as subjobs of OpenPBS's job arrays, told apart by the folder they were submitted from. */
export const pbs: BatchKind<PbsSiteConfig> = {
  submitter: 'qsub',
  jobFile: 'pbs.sh',
  sharesFiles: true,
  environment: ['PBS_CONF_FILE', 'PBS_EXEC', 'PBS_SERVER', 'PBS_DEFAULT'],

  templateValues: ({ config, factoryId }, { pilots }) => ({
    site: { walltimeSeconds: config.walltime ?? '' },
    submission: { jobName: jobNameOf(factoryId, config), array: pilots.length > 1, last: pilots.length - 1 },
  }),

  option: {
    line: (name, value) => `#PBS -${name}${value === true ? '' : ` ${shellQuote(value)}`}`,
    matches: (line, name) => new RegExp(`^#PBS\\s+-${name}(?=\\s|$)`).test(line),
  },

  check: (file) => ['sh', '-c', CHECK, 'sh', file],
  submit: (file) => ['qsub', file],
  jobIds(stdout, pilots) {
    const [, number, array, server] = /^(\d+)(\[\])?(\.[\w.-]+)?\s*$/m.exec(stdout) ?? []
    if (number === undefined || (array !== undefined) !== pilots > 1) return undefined
    return Array.from(
      { length: pilots },
      (_, index) => `${number}${pilots > 1 ? `[${index}]` : ''}${server ?? ''}`,
    )
  },
  refusal: {
    definite: /unknown|invalid|illegal|unauthorized|not permitted|denied|exceed|violate|limit|no permission/i,
    open: /timed? ?out|cannot connect|connection|communication|end of file|premature|protocol/i,
    tooMany: /would exceed|limit .*(jobs|queued)|max_queued/i,
    limit: {
      said: /array job.*(size|max)|max_array_size/i,
      ask: ['qstat', '-Bf'],
      largest: (stdout) => {
        const size = Number(/max_array_size\s*=\s*(\d+)/.exec(stdout)?.[1] ?? NaN)
        return Number.isNaN(size) ? undefined : size
      },
    },
  },

  list: ({ config, factoryId, user }) => ['sh', '-c', LIST, 'sh', user, jobNameOf(factoryId, config)],

  jobs(stdout, submissions) {
    const listing: Listing = { jobs: [], complete: true, oddities: [] }
    if (!stdout.trim()) return listing
    // What a wrapper prints may stand around the answer, with braces of its own.
    const start = Math.max(0, stdout.search(/^\s*\{/m))
    const end = [...stdout.matchAll(/\}[^\S\n]*$/gm)].at(-1)?.index ?? stdout.length
    const listed = Listed.safeParse(parseJson(stdout.slice(start, end + 1)))
    if (!listed.success) {
      const oddity = `qstat answered what is no JSON of jobs: ${excerpt(stdout)}`
      return { jobs: [], complete: false, oddities: [oddity] }
    }
    const pilotsOf = new Map(submissions.map(({ folder, pilots }) => [folder, pilots]))
    for (const [jobId, record] of Object.entries(listed.data.Jobs)) {
      // The array itself; its subjobs are listed beside it.
      if (/^\d+\[\]/.test(jobId)) continue
      const job = toJob(jobId, record, pilotsOf)
      if (job) listing.jobs.push(job)
      else listing.complete = false
      if (!job || job.state === 'unknown')
        listing.oddities.push(
          `qstat answered a job that is not understood: ${excerpt(`${jobId}: ${JSON.stringify(record)}`)}`,
        )
    }
    return listing
  },

  remove: (jobs, unlessRunning) => {
    const ids = jobs.map(({ jobId }) => jobId)
    return [unlessRunning ? ['sh', '-c', REMOVE_WAITING, 'sh', ...ids] : ['qdel', ...ids]]
  },
  gone: /unknown job id|job has finished|request invalid for state of job/i,
}

/** @returns undefined if it does not even tell which job this is */
function toJob(
  jobId: string,
  record: unknown,
  pilotsOf: ReadonlyMap<string, readonly string[]>,
): Job | undefined {
  const { data } = ListedJob.safeParse(record)
  if (!data || !/^\d+(\[\d+\])?(\.[\w.-]+)?$/.test(jobId)) return undefined
  const index = Number(/\[(\d+)\]/.exec(jobId)?.[1] ?? 0)
  const state = states[data.job_state] ?? 'unknown'
  const node = data.exec_host?.split(/[/+]/, 1)[0]
  return {
    jobId,
    pilot: pilotsOf.get(data.Variable_List?.PBS_O_WORKDIR ?? '')?.[index] ?? `unknown-${jobId}`,
    state,
    ...(data.comment && { reason: data.comment }),
    ...(node && { node }),
  }
}
