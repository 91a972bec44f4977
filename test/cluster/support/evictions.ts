import { setTimeout as sleep } from 'node:timers/promises'
import type { Job } from '../../../src/factory/sites/site.ts'
import { type Plant, workerProcess } from './plant.ts'
import { run } from './testbed.ts'

/** One way in which a node is taken from a pilot that runs. */
export type Eviction = {
  name: string
  /** The partition it needs, or HTCondor. */
  where: 'low' | 'abrupt' | 'requeue' | 'htcondor'
  evict: (job: Job, plant: Plant) => void
}

const tell = (...command: string[]) => void run('researcher', ...command)

/** A short job of high priority that wants the pilot's node, whole. */
const preempt: Eviction['evict'] = ({ node }) =>
  tell(
    'sbatch',
    '--partition=high',
    `--nodelist=${node}`,
    '--exclusive',
    '--output=/dev/null',
    '--wrap=sleep 1',
  )

const kill: Eviction['evict'] = ({ pilot }, plant) => {
  const pid = workerProcess(plant, pilot)
  if (pid !== undefined) process.kill(pid, 'SIGKILL')
}

/** A job of a user whom every slot prefers, which fits nothing but the pilot's slot. */
const outrank: Eviction['evict'] = ({ jobId }) => {
  const slot = run('researcher', 'condor_q', jobId, '-format', '%s', 'RemoteHost')
  const description = [
    'executable = /bin/true',
    'transfer_executable = false',
    'request_memory = 1',
    `requirements = Name == "${slot}"`,
    'queue',
  ]
  run('boss', 'sh', '-c', 'cd /tmp && printf "%s\\n" "$@" | condor_submit -terse -', 'sh', ...description)
}

/** Every way that Slurm and HTCondor have. */
export const evictions: Eviction[] = [
  { name: 'a preemption with a grace time', where: 'low', evict: preempt },
  { name: 'a preemption without one', where: 'abrupt', evict: preempt },
  { name: 'a preemption that requeues', where: 'requeue', evict: preempt },
  { name: 'scontrol requeue', where: 'low', evict: ({ jobId }) => tell('scontrol', 'requeue', jobId) },
  { name: 'scancel', where: 'low', evict: ({ jobId }) => tell('scancel', jobId) },
  { name: 'SIGKILL of the worker in Slurm', where: 'low', evict: kill },
  { name: 'condor_vacate_job', where: 'htcondor', evict: ({ jobId }) => tell('condor_vacate_job', jobId) },
  {
    name: 'condor_vacate_job -fast',
    where: 'htcondor',
    evict: ({ jobId }) => tell('condor_vacate_job', '-fast', jobId),
  },
  { name: 'condor_hold', where: 'htcondor', evict: ({ jobId }) => tell('condor_hold', jobId) },
  { name: 'condor_rm', where: 'htcondor', evict: ({ jobId }) => tell('condor_rm', jobId) },
  { name: 'SIGKILL of the worker in HTCondor', where: 'htcondor', evict: kill },
  { name: 'the job of a user with a better rank', where: 'htcondor', evict: outrank },
]

/**
 * Evicts pilots at work, in every way there is, one after another and again and again, until it is told to stop.
 * @returns how often each way was taken.
 */
export async function storm(plant: Plant, signal: AbortSignal): Promise<Map<string, number>> {
  const tally = new Map(evictions.map(({ name }) => [name, 0]))
  const evicted = new Set<string>()
  for (let turn = 0; !signal.aborted; turn++) {
    const { name, where, evict } = evictions[turn % evictions.length]!
    const [{ workers }, jobs] = await Promise.all([plant.status(), plant.jobs()])
    const victim = workers.find(
      ({ id, site, state, leased }) => site === where && state === 'active' && leased > 0 && !evicted.has(id),
    )
    const job = jobs.find(({ pilot, state }) => pilot === victim?.pilot && state === 'running')
    if (victim && job) {
      evict(job, plant)
      evicted.add(victim.id)
      tally.set(name, tally.get(name)! + 1)
    }
    await sleep(victim ? 1000 : 100, undefined, { signal }).catch(() => {})
  }
  return tally
}
