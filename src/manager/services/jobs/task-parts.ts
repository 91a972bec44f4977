import type { ReceivedPart, PartsResponse } from '../../../protocol/worker.ts'
import type { JsonText } from '../../../protocol/json/json-text.ts'
import type { Ledger } from '../../ledger/ledger.ts'
import type { Dispatcher } from '../dispatcher.ts'

/** A part of a task's value, ahead of it. */
export interface TaskPart {
  /** Of one run of the task: another one gives its parts from the start again. */
  lease: number
  /** Counts the parts of a run from 0; those that were lost are left out. */
  n: number
  part: JsonText
}

export type PartReader = (part: TaskPart) => void

/** Passes parts of values from workers to those who wait for them. They are kept nowhere. */
export class TaskParts {
  readonly #ledger: Ledger
  readonly #dispatcher: Dispatcher
  /** Readers by job, and by the keys of its tasks. */
  readonly #readers = new Map<number, Map<string, PartReader>>()

  constructor(ledger: Ledger, dispatcher: Dispatcher) {
    this.#ledger = ledger
    this.#dispatcher = dispatcher
  }

  /** Has a reader hear of the parts of a task, which may not be there yet. Returns how to end that. */
  read(job: number, key: string, reader: PartReader): () => void {
    const readers = this.#readers.get(job) ?? new Map<string, PartReader>()
    this.#readers.set(job, readers.set(key, reader))
    return () => {
      readers.delete(key)
      if (readers.size === 0) this.#readers.delete(job)
    }
  }

  /** Takes in what a worker sends; parts of tasks that it does not hold are dropped. */
  take(worker: string, parts: readonly ReceivedPart[]): PartsResponse {
    const unread = new Set<number>()
    const lost = new Set<number>()
    for (const { task, lease, n, part } of parts) {
      const job = this.#dispatcher.view.jobHeld(task, worker, lease)
      if (job === undefined) lost.add(task)
      const readers = job === undefined ? undefined : this.#readers.get(job)
      const reader = readers?.get(this.#ledger.tasks.keyOf(task))
      if (reader) reader({ lease, n, part })
      else unread.add(task)
    }
    return { unread: [...unread], lost: [...lost] }
  }
}
