import type { ReceivedTasks } from '../../../protocol/client.ts'
import { RequestError, invalid } from '../../http/api-errors.ts'
import type { JobRow } from '../../ledger/job-store.ts'
import type { NewTask } from '../../ledger/task-store.ts'

/* Tasks as clients send them, and what is wrong with them. */

/**
 * As the ledger takes them.
 * @throws {RequestError} with `replace`, 400 if two of these tasks have the same key and not the same input
 */
export function toNewTasks(tasks: ReceivedTasks['tasks'], replace: boolean): NewTask[] {
  const rows = tasks.map(toNewTask)
  if (replace) refuseContradictions(rows)
  return rows
}

function toNewTask({ key, numeric = false, input, blobs }: ReceivedTasks['tasks'][number]): NewTask {
  return { key, numeric, input: input.text, ...(blobs && { blobs: JSON.stringify(blobs) }) }
}

function refuseContradictions(tasks: NewTask[]): void {
  const inputs = new Map<string, string>()
  for (const { key, input } of tasks) {
    if ((inputs.get(key) ?? input) !== input) throw invalid(`two tasks have the key "${key}"`)
    inputs.set(key, input)
  }
}

/** The answer to tasks whose keys the job has with another input, where it was not asked to replace them. */
export function changedTasks({ id, name }: JobRow, keys: string[]): RequestError {
  const more = keys.length > 1 ? ` (and ${keys.length - 1} more)` : ''
  return new RequestError(
    409,
    'GLEANER_INPUT_CHANGED',
    `job ${id} ("${name}") has task "${keys[0]}"${more} with another input: have it replaced, or give it another key`,
  )
}
