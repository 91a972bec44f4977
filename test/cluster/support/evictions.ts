import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Job } from '../../../src/factory/sites/site.ts'
import { type Plant, workerProcess } from './cluster-factory.ts'
import { run } from './testbed.ts'

/** One way in which a node is taken from a pilot that runs. */
export type Eviction = {
  name: string
  /** The partition it needs, or HTCondor. */
  where: 'low' | 'abrupt' | 'requeue' | 'htcondor'
  evict: (job: Job, plant: Plant) => void
}

const tell = (...command: string[]) => void run('researcher', ...command)

/** Submits a short job of high priority that wants this Slurm node, whole. */
export function preemptOn(node: string): void {
  tell(
    'sbatch',
    '--partition=high',
    `--nodelist=${node}`,
    '--exclusive',
    '--output=/dev/null',
    '--wrap=sleep 1',
  )
}

const preempt: Eviction['evict'] = ({ node }) => preemptOn(node!)

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

/** A storm evicts at most one pilot of each site in this time, milliseconds. */
const ROUND = 1000
/** Longest that a storm may take, milliseconds. */
const STORM_LIMIT = 240_000

export type Storm = {
  /** How often each way was taken. */
  tally: Map<string, number>
  /** The site of every worker that was seen. */
  siteOf: Map<string, string>
}

/**
 * Evicts pilots in the middle of work, at every site at once and each time in the way that was taken least, until that is
 * enough.
 *
 * @param feed gives the pilots something to do; asked before each round.
 */
export async function storm(
  plant: Plant,
  feed: () => Promise<void>,
  enough: (tally: ReadonlyMap<string, number>) => boolean,
): Promise<Storm> {
  const tally = new Map(evictions.map(({ name }) => [name, 0]))
  const siteOf = new Map<string, string>()
  const evicted = new Set<string>()
  const giveUpAt = performance.now() + STORM_LIMIT
  while (!enough(tally)) {
    assert.ok(performance.now() < giveUpAt, `not enough evictions: ${JSON.stringify([...tally])}`)
    const nextRound = sleep(ROUND)
    const running = (await plant.jobs()).filter(({ state }) => state === 'running')
    const jobs = new Map(running.map((job) => [job.pilot, job]))
    await feed()
    const { workers } = await plant.status()
    for (const { id, site } of workers) siteOf.set(id, site)
    const victims = workers.filter(
      ({ id, pilot, state, leased }) =>
        state === 'active' && leased > 0 && jobs.has(pilot) && !evicted.has(id),
    )
    for (const [site, [victim]] of Map.groupBy(victims, ({ site }) => site)) {
      const ways = evictions.filter(({ where }) => where === site)
      const [way] = ways.toSorted((a, b) => tally.get(a.name)! - tally.get(b.name)!)
      if (!way || !victim) continue
      way.evict(jobs.get(victim.pilot)!, plant)
      evicted.add(victim.id)
      tally.set(way.name, tally.get(way.name)! + 1)
    }
    await nextRound
  }
  return { tally, siteOf }
}
