import type { JobInfo } from '../../../protocol/client.ts'
import type { NewEvent } from '../../../protocol/events.ts'
import type { Contexts } from '../contexts/contexts.ts'
import type { Jobs } from '../jobs/jobs.ts'
import type { JobStand } from '../jobs/job-state.ts'

/** Jobs whose progress is told of at one time; the others follow. */
const AT_ONCE = 100

/** Tells events of jobs as they begin, go on and end. */
export class JobWatch {
  readonly #jobs: Jobs
  readonly #note: (event: NewEvent) => void
  readonly #last = new Map<number, JobStand>()
  /** Jobs that have changed since their progress was told; the one that waits longest comes first. */
  readonly #changed = new Set<number>()

  constructor(parts: { jobs: Jobs; contexts: Contexts }, note: (event: NewEvent) => void) {
    this.#jobs = parts.jobs
    this.#note = note
    for (const { id } of parts.jobs.list()) this.#last.set(id, parts.jobs.stand(id)!)
    parts.jobs.onChange = (job) => this.#look(job)
  }

  #look(job: number): void {
    const now = this.#jobs.stand(job)
    const last = this.#last.get(job)
    if (!now) {
      this.#last.delete(job)
      this.#changed.delete(job)
      return
    }
    if (!last) this.#begins(job)
    this.#last.set(job, now)
    if (now.state === (last?.state ?? 'open')) {
      this.#changed.add(job)
      return
    }
    const { name, state, tasks, done, failed } = now
    this.#changed.delete(job)
    const trace = traceOf(this.#jobs.info(job))
    if (state === 'open') this.#note({ type: 'job-reopened', job, name, ...trace })
    else this.#note({ type: 'job-ended', job, name, state, tasks, done, failed, ...trace })
  }

  #begins(job: number): void {
    const info = this.#jobs.info(job)
    const { name, context, contextId, function: fn } = info
    const trace = traceOf(info)
    this.#note({ type: 'job-submitted', job, name, context, contextId: contextId!, function: fn, ...trace })
  }

  /** Tells how far those jobs are that have changed. */
  tellProgress(): void {
    for (const job of [...this.#changed].slice(0, AT_ONCE)) {
      this.#changed.delete(job)
      const stand = this.#jobs.stand(job)
      if (!stand) continue
      const { tasks, done, failed } = stand
      this.#note({ type: 'job-progress', job, tasks, done, failed })
    }
  }
}

const traceOf = ({ traceparent }: JobInfo) => (traceparent === undefined ? {} : { traceparent })
