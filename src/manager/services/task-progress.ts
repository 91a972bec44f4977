import type { ProgressResponse } from '../../protocol/client.ts'
import type { ExchangeRequest } from '../../protocol/worker.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { Ledger } from '../ledger/ledger.ts'

type Report = NonNullable<ExchangeRequest['progress']>[number]

/** Where tasks are that have no result yet, and how far by what they said themselves. */
export class TaskProgress {
  readonly #ledger: Ledger
  readonly #dispatcher: Dispatcher
  readonly #reports = new Map<string, Map<number, Report>>()

  constructor(ledger: Ledger, dispatcher: Dispatcher) {
    this.#ledger = ledger
    this.#dispatcher = dispatcher
    dispatcher.on('worker-gone', (worker) => this.#reports.delete(worker))
  }

  /** Takes in what a worker says of its tasks: all it has to say. */
  note(worker: string, reports: readonly Report[]): void {
    if (reports.length === 0) this.#reports.delete(worker)
    else this.#reports.set(worker, new Map(reports.map((report) => [report.task, report])))
  }

  /** Those of a job's tasks, by their keys, that have no result. */
  read(jobNumber: number, keys: readonly string[]): ProgressResponse {
    const { jobs, holders, workers } = this.#dispatcher.state
    const job = jobs.get(jobNumber)
    const tasks = keys.flatMap((key): ProgressResponse['tasks'] => {
      const task = this.#ledger.tasks.numberOf(jobNumber, key)
      if (!job || task === undefined) return []
      const lease = holders.get(task)
      if (!lease && !job.queue.has(task)) return []
      const { errors = 0, crashes = 0 } = job.faults.get(task) ?? {}
      const queued = { key, attempt: 1 + errors + crashes }
      if (!lease) return [queued]
      const { worker, grantedAt } = lease
      const { task: _, ...report } = this.#reports.get(worker)?.get(task) ?? { task }
      const node = workers.get(worker)?.node
      const ms = Math.max(0, this.#dispatcher.now - grantedAt)
      return [{ ...queued, worker, ...(node !== undefined && { node }), ms, ...report }]
    })
    return { tasks }
  }
}
