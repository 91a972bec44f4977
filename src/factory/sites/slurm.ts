import type { SlurmSiteConfig } from '../config/config.ts'
import type { Submission } from '../submissions/submission.ts'
import { shellQuote } from '../submissions/submit-template.ts'
import { type BatchKind, excerpt } from './batch-kind.ts'
import type { Job, JobState, Listing } from './site.ts'

/** Slurm's states (squeue(1), "JOB STATE CODES") as ours. One that is not named here is alive, whatever it is. */
const states: Record<string, JobState> = {
  PENDING: 'pending',
  REQUEUED: 'pending',
  REQUEUE_FED: 'pending',
  REQUEUE_HOLD: 'held',
  SPECIAL_EXIT: 'held',
  RESV_DEL_HOLD: 'held',
  POWER_UP_NODE: 'running',
  CONFIGURING: 'running',
  RUNNING: 'running',
  RESIZING: 'running',
  SUSPENDED: 'running',
  STOPPED: 'running',
  SIGNALING: 'running',
  STAGE_OUT: 'ending',
  COMPLETING: 'ending',
  COMPLETED: 'ended',
  CANCELLED: 'ended',
  FAILED: 'ended',
  TIMEOUT: 'ended',
  PREEMPTED: 'ended',
  NODE_FAIL: 'ended',
  BOOT_FAIL: 'ended',
  DEADLINE: 'ended',
  OUT_OF_MEMORY: 'ended',
  REVOKED: 'ended',
}

/** In front of each job, so that what a wrapper of `squeue` prints beside the jobs is no job. */
const MARK = 'gleaner|'
const FIELDS = '%i|%T|%N|%K|%r|%Z'

const jobNameOf = (factoryId: string, { jobName, name }: SlurmSiteConfig) => `${jobName}-${factoryId}-${name}`

/** Pilots as elements of Slurm job arrays, told apart by the folder they were submitted from. */
export const slurm: BatchKind<SlurmSiteConfig> = {
  submitter: 'sbatch',
  jobFile: 'slurm.sh',
  sharesFiles: true,
  environment: ['SLURM_CONF', 'SLURM_CONF_SERVER'],

  templateValues: ({ config, factoryId }, { pilots }) => ({
    site: { walltimeMinutes: config.walltime === undefined ? '' : Math.ceil(config.walltime / 60) },
    submission: {
      jobName: jobNameOf(factoryId, config),
      // A single pilot needs no array, which not every site allows.
      array: pilots.length > 1,
      last: pilots.length - 1,
    },
  }),
  // Slurm can name an element's output after its index only.
  links: ({ pilots }) =>
    pilots.map((pilot, index) => ({ name: `logs/${index}.out`, target: `${pilot}.log` })),

  option: {
    line: (name, value) => `#SBATCH --${name}${value === true ? '' : `=${shellQuote(value)}`}`,
    matches: (line, name) => new RegExp(`^#SBATCH\\s+--${name}(?=[=\\s]|$)`).test(line),
  },

  check: (file) => ['sbatch', '--test-only', file],
  submit: (file) => ['sbatch', '--parsable', file],
  jobIds(stdout, pilots) {
    const [, job, cluster] = /^(\d+)(;[\w.-]+)?\s*$/m.exec(stdout) ?? []
    if (job === undefined) return undefined
    const indices = Array.from({ length: pilots }, (_, index) => (pilots > 1 ? `_${index}` : ''))
    return indices.map((index) => `${job}${index}${cluster ?? ''}`)
  },
  refusal: {
    definite: /submission failed|invalid|unrecognized|unable to open/i,
    open: /timed out|contact|zero bytes|unexpected message|communicat|connect|temporarily/i,
    tooMany: /submit (job )?limit|MaxSubmitJob/i,
    limit: {
      said: /invalid job array/i,
      ask: ['scontrol', 'show', 'config'],
      largest(stdout) {
        const limits = [/^MaxArraySize\s*=\s*(\d+)/m, /\bmax_array_tasks=(\d+)/]
        const set = limits.flatMap((limit) => Number(limit.exec(stdout)?.[1] ?? NaN) || [])
        return set.length > 0 ? Math.min(...set) : undefined
      },
    },
  },

  list: ({ config, factoryId }, script) => [
    'squeue',
    '--me',
    ...clustersOf(script()),
    '--noheader',
    '--array',
    '--states=all',
    `--name=${jobNameOf(factoryId, config)}`,
    `--format=${MARK}${FIELDS}`,
  ],

  jobs(stdout, submissions) {
    const folders = new Map(submissions.map((submission) => [submission.folder, submission]))
    const listing: Listing = { jobs: [], complete: true, oddities: [] }
    let cluster = ''
    for (const line of stdout.split('\n').filter((text) => text.trim())) {
      const heading = /^CLUSTER: (\S+)/.exec(line)
      const job = line.startsWith(MARK) ? parseJob(line.slice(MARK.length), cluster, folders) : undefined
      if (heading) cluster = `;${heading[1]!}`
      else if (job) listing.jobs.push(job)
      else listing.oddities.push(`squeue answered a line that is not understood: ${excerpt(line)}`)
      if (!job && line.startsWith(MARK)) listing.complete = false
      if (job?.state === 'unknown')
        listing.oddities.push(`squeue answered a state that is not known: ${excerpt(line)}`)
    }
    return listing
  },

  remove(jobs, unlessRunning) {
    const waiting = unlessRunning ? ['--state=PENDING'] : []
    const byCluster = Map.groupBy(jobs, ({ jobId }) => jobId.split(';')[1])
    return [...byCluster].map(([cluster, some]) => [
      'scancel',
      '--quiet',
      ...(cluster === undefined ? [] : [`--clusters=${cluster}`]),
      ...waiting,
      ...some.map(({ jobId }) => jobId.split(';')[0]!),
    ])
  },
  gone: /invalid job id|already completing or completed/i,
}

/** Which clusters a job goes to, as `squeue` is to be told; empty for the one that commands talk to anyway. */
function clustersOf(script: string): string[] {
  const named = /^#SBATCH\s+(?:--clusters?[=\s]|-M\s*)\s*(\S+)/m.exec(script)?.[1]
  return named === undefined ? [] : [`--clusters=${named}`]
}

/** @returns undefined if it does not even tell which job this is */
function parseJob(
  text: string,
  cluster: string,
  submissions: ReadonlyMap<string, Submission>,
): Job | undefined {
  const [id = '', slurmState = '', node, index, reason = '', ...folder] = text.split('|')
  if (!/^\d+(_\d+)?$/.test(id)) return undefined
  const jobId = `${id}${cluster}`
  // `N/A` where there is no array. A folder that was deleted leaves unknown which pilot this is.
  const pilot = submissions.get(folder.join('|'))?.pilots[Number(index) || 0] ?? `unknown-${jobId}`
  const heldInQueue = slurmState === 'PENDING' && /^(JobHeld|.*requeued.held)/i.test(reason)
  const state = heldInQueue ? 'held' : (states[slurmState] ?? 'unknown')
  const why = state === 'ended' || state === 'unknown' ? slurmState : reason
  return {
    jobId,
    pilot,
    state,
    ...(why && why !== 'None' && { reason: why }),
    ...(node && { node }),
    ...((slurmState === 'PREEMPTED' || slurmState === 'NODE_FAIL') && { evicted: true }),
  }
}
