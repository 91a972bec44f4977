import type { BlobRef } from '../../protocol/blob.ts'
import { limits } from '../../protocol/primitives.ts'
import { losesNothing, parseExactly } from '../../protocol/json/exact-numbers.ts'
import { addBlobReferences } from './blob-references.ts'
import { newMark } from './cursor-epochs.ts'
import type { Tables } from './ledger-tables.ts'

export interface NewTask {
  key: string
  /** The key is the text of a number, which its user sees as one. */
  numeric?: boolean
  /** JSON text. */
  input: string
  /** The blobs it refers to, as JSON. */
  blobs?: string
}

/** A task's input: JSON text, and the blobs that it refers to, as JSON too. */
export interface TaskInput {
  task: number
  text: string
  blobs: string | null
}

/** What an added batch got: its tasks' numbers are `[start, end)`, without those the job had already. */
export interface AddedTasks {
  start: number
  end: number
  /** Tasks the job had already, with the same input. */
  known: number
  /** Keys of those that it had with another input, which were left alone. */
  changed: string[]
  /** Those that it had with another input and has no more. */
  replaced: TakenBack[]
}

/** A task that was deleted, and how it had ended, if it had. */
export interface TakenBack {
  task: number
  ended: 'done' | 'failed' | undefined
}

/** The tasks of the ledger: their keys and inputs. Writes are resolved when they are on disk. */
export class TaskStore {
  readonly #tables: Tables

  constructor(tables: Tables) {
    this.#tables = tables
  }

  /**
   * Adds the tasks whose keys the job does not have. With `replace`, a task that it has with another input makes way; its result
   * is taken back.
   */
  add(job: number, tasks: NewTask[], replace = false): Promise<AddedTasks> {
    const { counters } = this.#tables
    return this.#tables.commits.write(() => {
      const insert = this.#tables.sql('INSERT OR IGNORE INTO tasks VALUES (?, ?, ?, ?, ?, ?)')
      const find = this.#tables.sql('SELECT id, input, blobs, numeric FROM tasks WHERE job = ? AND key = ?')
      const start = counters.nextTask
      const changed: string[] = []
      const replaced: TakenBack[] = []
      let known = 0
      for (const { key, numeric = false, input, blobs = null } of tasks) {
        const add = () => insert.run(counters.nextTask, job, key, input, blobs, Number(numeric)).changes > 0
        if (!add()) {
          const found = find.get(job, key) as unknown as FoundTask
          if (isSameInput(found, input) && found.blobs === blobs) {
            known++
            continue
          }
          if (!replace) {
            changed.push(key)
            continue
          }
          replaced.push(this.#takeBack(found.id))
          add()
        }
        counters.nextTask++
        if (blobs !== null) addBlobReferences(this.#tables, job, JSON.parse(blobs) as BlobRef[])
      }
      if (replaced.length > 0) {
        counters.keepTasks()
        counters.keepCursors()
      }
      if (replaced.some(({ ended }) => ended))
        this.#tables.sql('UPDATE jobs SET mark = ? WHERE id = ?').run(newMark(), job)
      return { start, end: counters.nextTask, known, changed, replaced }
    }, this.#tables.careFor(job))
  }

  /** Deletes a task, with its result. What a worker still says of it is ignored. */
  #takeBack(task: number): TakenBack {
    const removed = this.#tables.sql('DELETE FROM results WHERE task = ? RETURNING status').get(task)
    this.#tables.sql('DELETE FROM logs WHERE task = ?').run(task)
    this.#tables.sql('DELETE FROM tasks WHERE id = ?').run(task)
    return { task, ended: removed && (removed.status === 'done' ? 'done' : 'failed') }
  }

  /**
   * Takes the keys from those of these tasks that have no result, so that they can be used anew; returns the tasks' numbers.
   * The tasks stay, since a worker may still speak of them, under names that are longer than any key can be.
   */
  releaseKeys(job: number, keys: string[]): Promise<number[]> {
    return this.#tables.commits.write(() => {
      const release = this.#tables.sql(
        `UPDATE tasks SET key = printf('%s (cancelled, task %0${limits.key}d)', key, id) WHERE job = ? AND key = ?
         AND NOT EXISTS (SELECT 1 FROM results WHERE task = tasks.id) RETURNING id`,
      )
      return keys.flatMap((key) => release.all(job, key).map(({ id }) => id as number))
    }, this.#tables.careFor(job))
  }

  /**
   * The inputs of these tasks, in the order asked for, without those that were taken back: of all of them, or of as many as fit
   * in `maxLength` characters, but at least one. Tasks with neighbouring numbers cost one look-up.
   */
  inputs(tasks: number[], maxLength = Infinity): TaskInput[] {
    const read = this.#tables.sql('SELECT id, input, blobs FROM tasks WHERE id BETWEEN ? AND ? ORDER BY id')
    const inputs: TaskInput[] = []
    let length = 0
    for (let i = 0; i < tasks.length;) {
      let last = i
      while (last + 1 < tasks.length && tasks[last + 1] === tasks[last]! + 1) last++
      for (const row of read.iterate(tasks[i]!, tasks[last]!)) {
        const task = row.id as number
        const input = { task, text: row.input as string, blobs: row.blobs as string | null }
        length += input.text.length + (input.blobs?.length ?? 0)
        if (inputs.length > 0 && length > maxLength) return inputs
        inputs.push(input)
      }
      i = last + 1
    }
    return inputs
  }

  /** The number of the job's task of that key. */
  numberOf(job: number, key: string): number | undefined {
    return this.#tables.sql('SELECT id FROM tasks WHERE job = ? AND key = ?').get(job, key)?.id as
      number | undefined
  }

  /** What its user calls a task of this number. */
  keyOf(task: number): string {
    return this.#tables.sql('SELECT key FROM tasks WHERE id = ?').get(task)!.key as string
  }

  /** Numbers of the job's tasks without a result, as ranges `[start, end)`. */
  *unfinished(job: number): Generator<[start: number, end: number]> {
    const rows = this.#tables.db
      .prepare(
        `SELECT id FROM tasks WHERE job = ? AND NOT EXISTS (SELECT 1 FROM results WHERE task = tasks.id) ORDER BY id`,
      )
      .iterate(job)
    let range: [number, number] | undefined
    for (const { id } of rows as Iterable<{ id: number }>) {
      if (range && range[1] === id) range[1]++
      else {
        if (range) yield range
        range = [id, id + 1]
      }
    }
    if (range) yield range
  }
}

interface FoundTask {
  id: number
  input: string
  blobs: string | null
  /** Null for one that an older version added, which did not keep the texts of numbers. */
  numeric: number | null
}

function isSameInput({ input, numeric }: FoundTask, text: string): boolean {
  if (input === text) return true
  return numeric === null && input === JSON.stringify(JSON.parse(text)) && losesNothing(parseExactly(text))
}
