import { count, duration, plural } from '../../common/plain/quantity-text.ts'
import type { JobInfo, TaskLog } from '../../protocol/client.ts'
import type { JobExplanation, Reason } from '../../protocol/explanation.ts'
import type { JobSnapshot } from './job-snapshot.ts'
import { byPriority } from './lease-grants.ts'
import type { ContextState, Job, LeaseRecord, SchedulerState } from './state.ts'
import { explainWorkers } from './worker-explanation.ts'

/** Why a job, or one task of it, is not running or not finished. */
export function explainJob(snapshot: JobSnapshot): JobExplanation {
  const { info, task, state } = snapshot
  const job = state.jobs.get(info.id)
  const reasons = task ? explainTask(snapshot, job, task) : explainWhole(snapshot, job)
  return { job: info.id, ...(task && { key: task.log.key }), summary: summaryOf(info, job), reasons }
}

function summaryOf({ id, name, state, tasks, done, failed }: JobInfo, job: Job | undefined): string {
  const open = job ? `, ${count(job.leased)} run, ${count(job.queue.size)} wait` : ''
  const stands = { open: 'is open', finished: 'is finished', cancelled: 'was cancelled' }[state]
  return `job ${id} (${name}) ${stands}: ${count(done)} of ${plural(tasks, 'task')} are done, ${count(failed)} failed${open}`
}

function explainWhole(snapshot: JobSnapshot, job: Job | undefined): Reason[] {
  const { info, now, state } = snapshot
  const failures = failed(info)
  if (!job || info.state !== 'open') return [ended(info), ...failures]
  if (job.leased + job.queue.size === 0) return [awaitsTasks(info), ...failures]
  return [
    ...running(state, job, now),
    ...retried(job),
    ...(job.queue.size > 0 ? whyWaiting(snapshot, job) : []),
    ...failures,
  ]
}

function explainTask(
  snapshot: JobSnapshot,
  job: Job | undefined,
  task: NonNullable<JobSnapshot['task']>,
): Reason[] {
  const { info, state, now } = snapshot
  const { key, status } = task.log
  if (status !== 'queued') return [taskEnded(info, task.log)]
  if (!job || info.state !== 'open')
    return [
      {
        ...ended(info),
        text: `Task ${key} has no result: the job ${info.state === 'cancelled' ? 'was cancelled' : 'has ended'}.`,
      },
    ]
  const faults = faultsOf(job, task.number, key)
  const leases = [state.holders.get(task.number), state.copies.get(task.number)].filter(
    (lease) => lease !== undefined,
  )
  if (leases.length > 0) return [...leases.map((lease) => held(state, key, lease, now)), ...faults]
  const before = job.queue.countBelow(task.number)
  const place =
    before === 0 ? 'It is the next of its job.' : `It is behind ${plural(before, 'task')} of its own job.`
  return [
    { code: 'waits', text: `Task ${key} waits for a worker. ${place}` },
    ...faults,
    ...whyWaiting(snapshot, job),
  ]
}

function ended({ state, id, tasks, done, failed }: JobInfo): Reason {
  if (state === 'cancelled') {
    const text = `It was cancelled: ${plural(tasks - done - failed, 'task')} had no result yet, and will not run.`
    return { code: 'cancelled', text, advice: `"factory retry ${id}" runs what failed and what had not run` }
  }
  return {
    code: 'finished',
    text: `All its tasks have results.`,
    advice: `"factory results ${id}" prints them`,
  }
}

const failed = ({ id, failed }: JobInfo): Reason[] =>
  failed === 0
    ? []
    : [
        {
          code: 'failures',
          text: `${plural(failed, 'task')} failed.`,
          advice: `"factory errors ${id}" says how; "factory retry ${id}" runs them again`,
        },
      ]

function awaitsTasks({ closed, tasks, id }: JobInfo): Reason {
  const text = closed
    ? 'Its last results are being written down.'
    : `${tasks === 0 ? 'It has no tasks yet' : 'All its tasks have results'}, and it waits for more: the program that made it has not said that there will be none.`
  const advice = closed
    ? {}
    : { advice: `it ends when that program closes it, or with "factory cancel ${id}"` }
  return { code: closed ? 'finishing' : 'not-closed', text, ...advice }
}

function running(state: SchedulerState, job: Job, now: number): Reason[] {
  if (job.leased === 0) return []
  const leases = [...state.workers.values()].flatMap(({ leases }) =>
    [...leases.values()].filter((lease) => lease.job === job),
  )
  const workers = new Set(leases.map(({ worker }) => worker)).size
  const oldest = Math.max(0, now - Math.min(...leases.map(({ grantedAt }) => grantedAt)))
  const text = `${plural(job.leased, 'task')} ${job.leased === 1 ? 'is' : 'are'} in the hands of ${plural(workers, 'worker')}, the oldest for ${duration(oldest)}.`
  return [{ code: 'running', text }]
}

/** Tasks that went wrong and wait for another try. */
function retried(job: Job): Reason[] {
  const again = [...job.faults.keys()].filter((task) => job.queue.has(task)).length
  if (again === 0) return []
  return [
    {
      code: 'waits-for-retry',
      text: `${plural(again, 'task')} went wrong and ${again === 1 ? 'waits' : 'wait'} for another try.`,
    },
  ]
}

function faultsOf(job: Job, task: number, key: string): Reason[] {
  const faults = job.faults.get(task)
  if (!faults) return []
  const { errors, crashes, excuses } = faults
  const parts = [
    errors > 0 &&
      `threw ${plural(errors, 'time')} (its job allows ${plural(job.retries, 'further try').replace('trys', 'tries')})`,
    crashes > 0 && `ended its library ${plural(crashes, 'time')}`,
    excuses > 0 &&
      `failed ${plural(excuses, 'time')} on workers that may be at fault themselves, which does not count`,
  ].filter((part) => part !== false)
  return [{ code: 'tried-before', text: `Task ${key} was tried before: it ${parts.join(', ')}.` }]
}

function held(
  state: SchedulerState,
  key: string,
  { worker, grantedAt, open }: LeaseRecord,
  now: number,
): Reason {
  const node = state.workers.get(worker)?.node
  const among = open > 1 ? `, among ${plural(open, 'task')} that were given to it together` : ''
  const text = `Task ${key} is in the hands of worker ${worker}${node === undefined ? '' : ` on ${node}`} for ${duration(Math.max(0, now - grantedAt))}${among}.`
  return { code: 'running', text }
}

function taskEnded({ id }: JobInfo, { key, status, worker, node, error, ms }: TaskLog): Reason {
  const where = `${worker === undefined || worker === '' ? '' : ` on worker ${worker}`}${node === undefined ? '' : ` (${node})`}${ms === undefined ? '' : `, after ${duration(ms)}`}`
  if (status === 'done') return { code: 'done', text: `Task ${key} is done${where}.` }
  const what = status === 'crash' ? 'was set aside, because its library ended each time it ran' : 'failed'
  const text = `Task ${key} ${what}${where}: ${error?.name ?? 'Error'}: ${error?.message ?? ''}`
  return {
    code: 'failed',
    text,
    advice: `"factory logs ${id} ${key}" shows what it printed; "factory retry ${id}" runs it again`,
  }
}

/** Why tasks of a job wait, the most telling first. */
function whyWaiting(snapshot: JobSnapshot, job: Job): Reason[] {
  const { state, sites, info, pilots } = snapshot
  const context = state.contexts.get(job.context)!
  const broken = contextTrouble(info)
  const onWorkers = explainWorkers(snapshot, job)
  const reasons = [...broken, ...ahead(context, job), ...onWorkers]
  if (context.ready > 0) return reasons
  const noWorker: Reason[] = state.workers.size > 0 ? [] : [{ code: 'no-worker', text: absence(pilots) }]
  const away = sites.flatMap(({ site, reasons }) =>
    reasons.map(({ code, text, advice }): Reason => ({
      code: `site-${code}`,
      text: `Site ${site}: ${text}`,
      ...(advice !== undefined && { advice }),
    })),
  )
  return [...reasons, ...noWorker, ...away]
}

function absence({ coming, held }: JobSnapshot['pilots']): string {
  const isOrAre = (number: number) => `${plural(number, 'pilot')} ${number === 1 ? 'is' : 'are'}`
  const also = held === 0 ? '' : ` ${isOrAre(held)} held by the batch system.`
  return coming > 0
    ? `No worker is there yet: ${isOrAre(coming)} on the way.${also}`
    : `No worker is there, and no pilot is on its way.${also}`
}

function contextTrouble({ problem, doubt }: JobInfo): Reason[] {
  if (problem !== undefined)
    return [
      {
        code: 'context-failed',
        text: `Nothing of it can run: ${problem}.`,
        advice: 'mend the context, then run the job again: it is tried at once',
      },
    ]
  return doubt === undefined
    ? []
    : [{ code: 'context-doubted', text: `It may be that nothing of it can run: ${doubt}.` }]
}

/** Tasks of the same context that workers are given first. */
function ahead(context: ContextState, job: Job): Reason[] {
  const jobs = byPriority(context.jobs)
  const first = jobs.slice(0, jobs.indexOf(job)).filter(({ queue }) => queue.size > 0)
  const tasks = first.reduce((sum, { queue }) => sum + queue.size, 0)
  if (tasks === 0) return []
  const higher = first.filter(({ priority }) => priority > job.priority)
  const why =
    higher.length === first.length
      ? 'of higher priority'
      : higher.length > 0
        ? 'of higher priority, or made earlier'
        : 'made earlier'
  const names = first
    .slice(0, 3)
    .map(({ id }) => id)
    .join(', ')
  const text = `It is behind ${plural(tasks, 'task')} of ${plural(first.length, 'job')} ${why} (${names}${first.length > 3 ? ', …' : ''}).`
  return [{ code: 'behind-others', text, advice: 'a job made with a higher --priority goes first' }]
}
