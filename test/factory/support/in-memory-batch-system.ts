import { type Job, type Site, SubmitRefused } from '../../../src/factory/sites/site.ts'
import type { Submission } from '../../../src/factory/submissions/submission.ts'
import { localFiles } from '../../../src/factory/transports/local-files.ts'

/** A batch system in memory, for what the loop does with a queue that fails, lags or holds jobs. */
export class BatchSystem {
  readonly queue = new Map<string, Job>()
  readonly submissions: Submission[] = []
  /** The most jobs that were ever in the queue. */
  most = 0
  /** What the next calls do wrong, one each. */
  faults: ('refuse' | 'lose' | 'lose-and-take' | 'list-fails' | 'list-is-empty')[] = []

  /** Most jobs that it takes at once. */
  largest = Infinity
  /** Jobs that it does not let anybody remove. */
  readonly nailed = new Set<string>()
  /** What beside jobs its queue shows. */
  oddities: string[] = []

  readonly site: Site & { lateness: number } = {
    files: localFiles,
    sharesFiles: true,
    lateness: 100,
    certain: false,
    largest: Infinity,
    render: () => ({ name: 'job', content: '' }),
    command: () => ['submit'],
    check: () => Promise.resolve({ accepted: true, said: '' }),
    submit: (submission) => {
      const fault = this.take('refuse', 'lose', 'lose-and-take')
      if (fault === 'refuse') return Promise.reject(new SubmitRefused('invalid account'))
      if (fault === 'lose') return Promise.reject(new Error('timed out'))
      if (submission.pilots.length > this.largest)
        return Promise.reject(new SubmitRefused('too many jobs', { tooMany: true }))
      this.submissions.push(submission)
      const jobs = submission.pilots.map((pilot) => ({ pilot, jobId: `job-of-${pilot}` }))
      for (const job of jobs) this.queue.set(job.pilot, { ...job, state: 'pending' })
      this.most = Math.max(this.most, this.queue.size)
      return fault ? Promise.reject(new Error('timed out')) : Promise.resolve(jobs)
    },
    ask: () => Promise.resolve({ code: 127, stdout: '', stderr: 'not found' }),
    list: () =>
      this.take('list-fails')
        ? Promise.reject(new Error('cannot reach the controller'))
        : Promise.resolve({
            jobs: this.take('list-is-empty') ? [] : [...this.queue.values()],
            complete: true,
            oddities: this.oddities,
          }),
    remove: (jobs, { unlessRunning }) => {
      for (const { pilot } of jobs)
        if ((!unlessRunning || this.queue.get(pilot)?.state !== 'running') && !this.nailed.has(pilot))
          this.queue.delete(pilot)
      const kept = jobs.filter(({ pilot }) => this.nailed.has(pilot))
      return kept.length > 0 ? Promise.reject(new Error('permission denied')) : Promise.resolve()
    },
  }

  private take(...kinds: BatchSystem['faults']): BatchSystem['faults'][number] | undefined {
    const index = this.faults.findIndex((fault) => kinds.includes(fault))
    return index < 0 ? undefined : this.faults.splice(index, 1)[0]
  }
}
