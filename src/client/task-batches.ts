import type { BlobRef } from '../protocol/blob.ts'
import { limits } from '../protocol/primitives.ts'
import { stringifyExactly } from '../protocol/json/exact-numbers.ts'
import { InputError } from './errors.ts'

/** One call of a job's function. */
export interface TaskInput {
  /** What the user calls this task, unique in its job: adding it again changes nothing. At most 200 characters. */
  key: string
  /** The key is the text of a number. */
  numeric?: boolean
  /** The function's argument: anything JSON can hold, and bigints, which are numbers in JSON. */
  input: unknown
  /** Blobs that the input refers to, which the manager has. */
  blobs?: readonly BlobRef[]
}

/** Bounds on one request that adds tasks. Small enough that the manager's other callers need not wait for long. */
export const BATCH = { tasks: 2_000, bytes: 4 << 20 }

/**
 * Packs tasks into bodies of `POST /v1/jobs/:id/tasks`. Takes no more from `tasks` than the next body needs, so a source
 * of any length is read as fast as the manager commits.
 *
 * @throws InputError for a task whose input is not JSON or is too long
 */
export async function* toBatches(
  tasks: Iterable<TaskInput> | AsyncIterable<TaskInput>,
): AsyncGenerator<string, void, undefined> {
  let batch: string[] = []
  let bytes = 0
  for await (const task of tasks) {
    const text = toJson(task)
    const length = Buffer.byteLength(text)
    if (batch.length > 0 && (batch.length === BATCH.tasks || bytes + length > BATCH.bytes)) {
      yield body(batch)
      batch = []
      bytes = 0
    }
    batch.push(text)
    bytes += length
  }
  if (batch.length > 0) yield body(batch)
}

const body = (batch: string[]) => `{"tasks":[${batch.join(',')}]}`

function toJson({ key, numeric, input, blobs }: TaskInput): string {
  const text = stringifyExactly(input)
  if (text === undefined) throw new InputError(`the input of task ${key} is not JSON`)
  if (Buffer.byteLength(text) > limits.value) {
    throw new InputError(`the input of task ${key} is longer than ${limits.value} bytes as JSON`)
  }
  const more = blobs ? `,"blobs":${JSON.stringify(blobs)}` : ''
  return `{"key":${JSON.stringify(key)}${numeric ? ',"numeric":true' : ''},"input":${text}${more}}`
}
