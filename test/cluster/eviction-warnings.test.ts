import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { JobState, Site } from '../../src/factory/sites/site.ts'
import { eventually } from '../factory/support/eventually.ts'
import { prepare } from '../factory/support/write-submission.ts'
import { type Common, commonPlace, htcondor, slurm } from './support/sites.ts'
import { preemptOn } from './support/evictions.ts'
import { run, sharedFolder } from './support/testbed.ts'

/** A stand-in for the worker that writes down its starts, as the batch system counts them, and the warnings it gets. */
const diarist = `
page="$GLEANER_SHARED/$(basename "$GLEANER_TOKEN_FILE" .token)"
trap 'echo warned >>"$page"; exit 0' TERM
echo "$$" >"$page.pid"
echo "start $GLEANER_RESTARTS" >>"$page"
while :; do sleep 0.05; done
`

let shared: ReturnType<typeof sharedFolder>
let common: Common
before(async () => {
  shared = sharedFolder('warnings')
  common = await commonPlace(shared.folder, diarist)
})
after(() => shared[Symbol.dispose]())

type Eviction = {
  name: string
  /** What the batch system is told to do to the job. */
  evict: (jobId: string, pid: number) => void
  /** What the pilot's diary then says. */
  diary: string[]
  /** What becomes of its job. */
  then: JobState | 'gone'
  site?: object
}

const signal = () => AbortSignal.timeout(60_000)
const ask = (...command: string[]) => void run('researcher', ...command)
const preempt = (jobId: string) =>
  preemptOn(run('researcher', 'squeue', '--noheader', '--format=%N', `--jobs=${jobId}`).trim())

function evictions(kind: typeof slurm | typeof htcondor, list: Eviction[], own: (index: number) => object) {
  const factory = `warnings-${randomBytes(3).toString('hex')}`
  for (const [index, { name, evict, diary, then, site: more }] of list.entries())
    test(name, async () => {
      const { config, open } = kind(common, { ...own(index), ...more })
      const site: Site = open(`${factory}-${index}`)
      const pilot = `p${factory}${index}`
      const page = join(common.marks, pilot)
      const read = () => (existsSync(page) ? readFileSync(page, 'utf8').trim().split('\n') : [])
      const state = async () => (await site.list(signal())).jobs[0]?.state ?? 'gone'

      const submission = await prepare(site, { ...common, config }, [pilot])
      const [job] = await site.submit(submission, signal())
      await eventually('the worker runs', () => read().length === 1, 60)
      try {
        evict(job!.jobId, Number(readFileSync(`${page}.pid`, 'utf8')))
        await eventually(`${name}: ${diary.join(', ')}`, () => read().length === diary.length, 90)
        assert.deepEqual(read(), diary)
        await eventually(`its job is ${then}`, async () => (await state()) === then, 60)
        assert.deepEqual(read(), diary)
      } finally {
        await site.remove((await site.list(signal())).jobs, { unlessRunning: false, signal: signal() })
      }
    })
}

describe('a pilot in Slurm', { concurrency: true }, () => {
  evictions(
    slurm,
    [
      {
        name: 'is warned when it is cancelled',
        evict: (id) => ask('scancel', id),
        diary: ['start 0', 'warned'],
        then: 'ended',
      },
      {
        name: 'is warned when it is requeued, and starts again',
        evict: (id) => ask('scontrol', 'requeue', id),
        diary: ['start 0', 'warned', 'start 1'],
        then: 'running',
      },
      {
        name: 'is warned when it is preempted after a grace time',
        evict: preempt,
        diary: ['start 0', 'warned'],
        then: 'ended',
      },
      {
        name: 'is warned when it is preempted at once',
        evict: preempt,
        diary: ['start 0', 'warned'],
        then: 'ended',
        site: { partition: 'abrupt' },
      },
      {
        name: 'is warned when it is preempted and requeued, and starts again',
        evict: preempt,
        diary: ['start 0', 'warned', 'start 1'],
        then: 'running',
        site: { partition: 'requeue' },
      },
      {
        name: 'is warned when its walltime is over',
        evict: () => {},
        diary: ['start 0', 'warned'],
        then: 'ended',
        site: { walltime: '1m' },
      },
      {
        name: 'is not warned when its process is killed',
        evict: (_, pid) => process.kill(pid, 'SIGKILL'),
        diary: ['start 0'],
        then: 'ended',
      },
    ],
    // Each on a node of its own: what preempts one pilot must not take another's node.
    (index) => ({ extraLines: [`#SBATCH --nodelist=n${index + 1}`] }),
  )
})

describe('a pilot in HTCondor', { concurrency: true }, () => {
  evictions(
    htcondor,
    [
      {
        name: 'is warned when it is removed',
        evict: (id) => ask('condor_rm', id),
        diary: ['start 0', 'warned'],
        then: 'gone',
      },
      {
        name: 'is warned when it is vacated, and starts again',
        evict: (id) => ask('condor_vacate_job', id),
        diary: ['start 0', 'warned', 'start 1'],
        then: 'running',
      },
      {
        name: 'is not warned when it is vacated fast, and starts again',
        evict: (id) => ask('condor_vacate_job', '-fast', id),
        diary: ['start 0', 'start 1'],
        then: 'running',
      },
      {
        name: 'is warned when it is held',
        evict: (id) => ask('condor_hold', id),
        diary: ['start 0', 'warned'],
        then: 'held',
      },
      {
        name: 'is not warned when its process is killed',
        evict: (_, pid) => process.kill(pid, 'SIGKILL'),
        diary: ['start 0'],
        then: 'gone',
      },
    ],
    () => ({}),
  )
})
