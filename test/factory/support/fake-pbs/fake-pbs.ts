import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'

/*
 * `qsub`, `qstat`, `qselect` and `qdel` of an OpenPBS that has one node, `n1`, as far as pilots need them. Jobs are files in
 * $FAKE_PBS; what has run is processes. Queue `never` starts nothing, queue `nowhere` does not exist.
 */

interface FakeJob {
  id: string
  name: string
  user: string
  queue: string
  folder: string
  index?: number
  pid?: number
  held?: boolean
  deleted?: boolean
}

const [, , program, ...args] = process.argv
const folder = process.env['FAKE_PBS']!
const user = process.env['FAKE_PBS_USER'] ?? process.env['USER'] ?? 'root'
const jobsFolder = join(folder, 'jobs')
mkdirSync(jobsFolder, { recursive: true })

const fileOf = (id: string) => join(jobsFolder, `${id}.json`)
const save = (job: FakeJob) => writeFileSync(fileOf(job.id), JSON.stringify(job))
const jobs = () =>
  readdirSync(jobsFolder).map((file) => JSON.parse(readFileSync(join(jobsFolder, file), 'utf8')) as FakeJob)

function fail(message: string, code: number): never {
  process.stderr.write(`${message}\n`)
  process.exit(code)
}

function isAlive(pid: number): boolean {
  try {
    // A zombie of a shell that nobody waits for has ended.
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

function stateOf({ pid, held = false, deleted = false, index }: FakeJob): string {
  if (pid === undefined) return deleted ? 'F' : held ? 'H' : 'Q'
  if (!isAlive(pid)) return index === undefined ? 'F' : 'X'
  return deleted ? 'E' : 'R'
}

function start(job: FakeJob, script: string): void {
  const child = spawn('/bin/sh', [script], {
    cwd: '/',
    detached: true,
    stdio: 'ignore',
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      PBS_JOBID: job.id,
      PBS_O_WORKDIR: job.folder,
      NCPUS: '1',
      ...(job.index !== undefined && { PBS_ARRAY_INDEX: String(job.index) }),
    },
  })
  child.unref()
  save({ ...job, pid: child.pid! })
}

function qsub([script = '']: string[]): void {
  const text = readFileSync(script, 'utf8')
  const option = (name: string) => new RegExp(`^#PBS -${name} (\\S+)`, 'm').exec(text)?.[1]
  const queue = option('q') ?? 'workq'
  if (queue === 'nowhere') fail('qsub: Unknown queue', 170)
  const number = jobs().reduce((most, { id }) => Math.max(most, parseInt(id)), 0) + 1
  const last = option('J')?.split('-')[1]
  const indices = last === undefined ? [undefined] : Array.from({ length: Number(last) + 1 }, (_, i) => i)
  for (const index of indices) {
    const id = `${number}${index === undefined ? '' : `[${index}]`}.pbs`
    const job = {
      id,
      name: option('N')!,
      user,
      queue,
      folder: process.cwd(),
      ...(index !== undefined && { index }),
    }
    if (queue === 'never') save(job)
    else start(job, script)
  }
  console.log(`${number}${last === undefined ? '' : '[]'}.pbs`)
}

/** Ids as `qselect` gives them: of arrays with `-T` the subjobs, without it the array. */
function qselect(options: string[]): void {
  const value = (name: string) => (options.includes(name) ? options[options.indexOf(name) + 1] : undefined)
  const chosen = jobs().filter(
    (job) =>
      job.user === (value('-u') ?? user) &&
      job.name === (value('-N') ?? job.name) &&
      (value('-s')?.includes(stateOf(job)) ?? true) &&
      (options.includes('-x') || !'FX'.includes(stateOf(job))),
  )
  const ids = chosen.map(({ id }) => (options.includes('-T') ? id : id.replace(/\[\d+\]/, '[]')))
  for (const id of new Set(ids)) console.log(id)
}

function qstat(options: string[]): void {
  if (options[0] === '-B') return console.log('Server Max Tot Que Run\npbs 0 0 0 0 Active')
  if (options[0] === '-Q')
    return options[1] === 'nowhere' ? fail('qstat: Unknown queue nowhere', 170) : console.log(options[1])
  const ids = options.filter((option) => /^\d/.test(option))
  const wanted = jobs().filter(
    ({ id }) => ids.length === 0 || ids.includes(id.replace(/\[\d+\]/, '[]')) || ids.includes(id),
  )
  const records = wanted.map((job) => {
    const state = stateOf(job)
    return [
      job.id,
      {
        Job_Name: job.name,
        Job_Owner: `${job.user}@submit`,
        job_state: state,
        queue: job.queue,
        ...(job.index !== undefined && {
          array_id: job.id.replace(/\[\d+\]/, '[]'),
          array_index: String(job.index),
        }),
        ...('RE'.includes(state) && { exec_host: 'n1/0*1' }),
        ...('QH'.includes(state) && {
          comment: state === 'H' ? 'Job held by user' : 'Not Running: queue not started',
        }),
        Variable_List: { PBS_O_HOME: '/home/me', PBS_O_WORKDIR: job.folder },
      },
    ]
  })
  console.log(
    JSON.stringify(
      { timestamp: 1, pbs_version: '23.06.06', Jobs: Object.fromEntries(records) as object },
      null,
      4,
    ),
  )
}

function qdel(ids: string[]): void {
  let code = 0
  for (const id of ids) {
    const job = jobs().find((one) => one.id === id && one.user === user)
    if (!job) {
      process.stderr.write(`qdel: Unknown Job Id ${id}\n`)
      code = 153
    } else if ('FX'.includes(stateOf(job))) {
      process.stderr.write(`qdel: Job has finished ${id}\n`)
      code = 35
    } else {
      save({ ...job, deleted: true })
      if (job.pid !== undefined) process.kill(-job.pid, 'SIGTERM')
    }
  }
  process.exitCode = code
}

const programs: Record<string, (args: string[]) => void> = { qsub, qselect, qstat, qdel }
programs[basename(program ?? '')]!(args)
