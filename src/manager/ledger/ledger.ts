import type { Logger } from 'pino'
import { Epochs } from './cursor-epochs.ts'
import { EventLog } from './event-log.ts'
import { JobStore } from './job-store.ts'
import { KeyStore } from './key-store.ts'
import { PilotStore } from './pilot-store.ts'
import { ResultStore } from './result-store.ts'
import { Tables } from './ledger-tables.ts'
import { TaskStore } from './task-store.ts'

/**
 * The account of everything that must not be lost: jobs, tasks, results, pilots, events; contexts and blobs are in files beside. One
 * store for each, over the same tables and the same groups of writes.
 */
export class Ledger extends Tables {
  readonly jobs: JobStore
  readonly tasks: TaskStore
  readonly results: ResultStore
  readonly pilots: PilotStore
  readonly keys: KeyStore
  readonly epochs: Epochs
  readonly events: EventLog

  /** @throws {LedgerLockedError} {@link LedgerVersionError} */
  constructor(file: string, log: Logger) {
    super(file, log)
    this.jobs = new JobStore(this)
    this.tasks = new TaskStore(this)
    this.results = new ResultStore(this)
    this.pilots = new PilotStore(this)
    this.keys = new KeyStore(this)
    this.epochs = new Epochs(this)
    this.events = new EventLog(this)
  }

  /** Its size, without the log of what was written last. */
  get bytes(): number {
    const read = (pragma: string) => Object.values(this.sql(`PRAGMA ${pragma}`).get()!)[0] as number
    return read('page_count') * read('page_size')
  }

  protected override undone(): void {
    super.undone()
    this.events.forget()
  }

  /** The number of this start of the manager, from 1: each has fencing numbers of its own. */
  nextStart(): number {
    const start = Number(this.meta('epoch') ?? 0) + 1
    this.setMeta('epoch', String(start))
    return start
  }
}
