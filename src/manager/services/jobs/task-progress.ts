import type { ProgressResponse } from '../../../protocol/client.ts'
import type { ExchangeRequest } from '../../../protocol/worker.ts'
import type { Dispatcher } from '../dispatcher.ts'
import type { Ledger } from '../../ledger/ledger.ts'

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
    const { view, now } = this.#dispatcher
    const tasks = keys.flatMap((key): ProgressResponse['tasks'] => {
      const task = this.#ledger.tasks.numberOf(jobNumber, key)
      const found = task === undefined ? undefined : view.task(jobNumber, task)
      if (task === undefined || !found) return []
      const { attempt, lease } = found
      if (!lease) return [{ key, attempt }]
      const { worker, grantedAt } = lease
      const { task: _, ...report } = this.#reports.get(worker)?.get(task) ?? { task }
      const node = view.worker(worker)?.node
      const ms = Math.max(0, now - grantedAt)
      return [{ key, attempt, worker, ...(node !== undefined && { node }), ms, ...report }]
    })
    return { tasks }
  }
}
