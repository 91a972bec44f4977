import { symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { type SlurmSiteConfig, templateVariables } from '../config/config.ts'
import type { Submission } from '../submissions/submission.ts'
import { readSubmissions } from '../submissions/submission.ts'
import { renderTemplate, shippedTemplate } from '../submissions/submit-template.ts'
import type { CommandResult, Transport } from '../transports/transport.ts'
import { type Job, type JobState, type Site, SubmitRefused } from './site.ts'

/** Variables that name the cluster to Slurm's commands. Those that change what a command does (`SBATCH_…`) are not kept. */
export const slurmVariables = ['SLURM_CONF', 'SLURM_CONF_SERVER']

/** One line of `squeue`, with the fields of {@link format}. */
const Row = z.tuple([
  z.string().regex(/^\d+(_\d+)?$/),
  z.string().regex(/^[A-Z_]+$/),
  z.string(),
  z.string(),
  z.string(),
  z.string(),
])
const format = '%i|%T|%N|%K|%r|%Z'

/** Slurm's states (squeue(1), "JOB STATE CODES") as ours. Those not named here have ended. */
const states: Record<string, JobState> = {
  PENDING: 'pending',
  REQUEUED: 'pending',
  REQUEUE_FED: 'pending',
  REQUEUE_HOLD: 'held',
  SPECIAL_EXIT: 'held',
  RESV_DEL_HOLD: 'held',
  CONFIGURING: 'running',
  RUNNING: 'running',
  SUSPENDED: 'running',
  STOPPED: 'running',
  SIGNALING: 'running',
  STAGE_OUT: 'ending',
  COMPLETING: 'ending',
}

/** Pilots as elements of Slurm job arrays, told apart by the job's name and working folder. */
export function slurmSite(
  config: SlurmSiteConfig,
  factoryId: string,
  siteFolder: string,
  transport: Transport,
): Site {
  const jobName = `gleaner-${factoryId}-${config.name}`

  const variables = (submission: Submission) => ({
    site: {
      ...templateVariables(config),
      walltimeMinutes: config.walltime === undefined ? '' : Math.ceil(config.walltime / 60),
    },
    submission: { ...submission, jobName, last: submission.pilots.length - 1 },
  })

  const command = (submission: Submission) => ['sbatch', '--parsable', join(submission.folder, 'slurm.sh')]

  return {
    lateness: 60_000,

    render: (submission) => ({
      name: 'slurm.sh',
      content: renderTemplate(config.template ?? shippedTemplate('slurm.sh'), variables(submission)),
    }),

    command,

    async submit(submission, signal) {
      // Slurm can name an element's output after its index only; we want it under the pilot's name.
      for (const [index, pilot] of submission.pilots.entries())
        await symlink(`${pilot}.log`, join(submission.folder, 'logs', `${index}.out`))
      const { code, stdout, stderr } = await transport.run(command(submission), {
        cwd: submission.folder,
        signal,
      })
      if (code !== 0) throw new SubmitRefused(`sbatch: ${stderr.trim() || `exit code ${code}`}`)
      const jobId = /^(\d+)(;\S+)?\s*$/m.exec(stdout)?.[1]
      if (!jobId)
        throw new Error(`sbatch answered ${JSON.stringify(stdout.slice(0, 200))} and not a job's number`)
      return submission.pilots.map((pilot, index) => ({ pilot, jobId: `${jobId}_${index}` }))
    },

    async list(signal) {
      const squeue = [
        'squeue',
        '--noheader',
        '--array',
        '--states=all',
        `--name=${jobName}`,
        `--format=${format}`,
      ]
      const { stdout } = succeed(await transport.run(squeue, { signal }))
      const rows = stdout.split('\n').filter(Boolean).map(parseRow)
      if (rows.length === 0) return []
      const folders = new Map(
        (await readSubmissions(siteFolder)).map(({ folder, pilots }) => [folder, pilots]),
      )
      return rows.flatMap(({ folder, index, ...job }): Job[] => {
        const pilot = folders.get(folder)?.[index]
        // A submission whose folder somebody deleted: nobody can say which pilots these are, so none may stay.
        return [{ ...job, pilot: pilot ?? `unknown-${job.jobId}` }]
      })
    },

    async remove(jobs, { unlessRunning, signal }) {
      const scancel = ['scancel', '--quiet', ...(unlessRunning ? ['--state=PENDING'] : [])]
      succeed(await transport.run([...scancel, ...jobs.map(({ jobId }) => jobId)], { signal }))
    },
  }
}

function parseRow(line: string) {
  const parsed = Row.safeParse(line.split('|', 6))
  if (!parsed.success) throw new Error(`squeue answered a line that is not understood: ${line.slice(0, 200)}`)
  const [jobId, slurmState, node, index, reason, folder] = parsed.data
  const heldInQueue = slurmState === 'PENDING' && /^(JobHeld|.*requeued.held)/i.test(reason)
  const state = heldInQueue ? 'held' : (states[slurmState] ?? 'ended')
  const why = state === 'ended' ? slurmState : reason
  return {
    jobId,
    state,
    index: Number(index),
    folder,
    ...(why !== 'None' && { reason: why }),
    ...(node && { node }),
    ...((slurmState === 'PREEMPTED' || slurmState === 'NODE_FAIL') && { evicted: true }),
  }
}

function succeed(result: CommandResult): CommandResult {
  if (result.code === 0) return result
  throw new Error(result.stderr.trim() || `exit code ${result.code}`)
}
