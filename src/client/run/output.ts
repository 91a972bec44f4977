import { constants } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { z } from 'zod'
import type { ResultRow } from '../../protocol/client.ts'
import { limits, parseJson } from '../../protocol/common.ts'
import { InputError } from '../errors.ts'
import type { Job } from '../job.ts'
import { readLines } from './lines.ts'

/**
 * A result as one line of the output: `id` and `status`, then the fields of the value, or the value itself as `value` if
 * it is no object or has a field of one of those names; for a task that failed, what went wrong as `error`, where, and
 * the end of what it printed as `log`.
 */
export function toLine({ key, status, value, error, worker, node, log }: ResultRow): string {
  const head = { id: key, status }
  const failure = error && {
    error: `${error.name}: ${error.message}`,
    ...(error.stack && { stack: error.stack }),
    worker,
    node,
    log,
  }
  return `${JSON.stringify({ ...head, ...fields(value), ...failure })}\n`
}

const RESERVED = ['id', 'status', 'error']

function fields(value: ResultRow['value']): object {
  if (value === undefined) return {}
  const spreads =
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !RESERVED.some((name) => name in value)
  return spreads ? value : { value }
}

/** How far an output has come: a position in the file and the same one in the job's results. */
export interface Position {
  bytes: number
  cursor: number
  done: number
  failed: number
}

export const START: Position = { bytes: 0, cursor: 0, done: 0, failed: 0 }

/** The position behind these rows. */
export function advance(position: Position, rows: ResultRow[], bytes: number): Position {
  const done = rows.filter(({ status }) => status === 'done').length
  return {
    bytes: position.bytes + bytes,
    cursor: rows.at(-1)?.cursor ?? position.cursor,
    done: position.done + done,
    failed: position.failed + rows.length - done,
  }
}

/** An existing output's size in bytes, 0 if there is none. */
export async function outputSize(path: string): Promise<number> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (found && !found.isFile()) throw new InputError(`${path} is not a regular file`)
  return found?.size ?? 0
}

/** What an earlier run left in its output. */
export interface Found {
  position: Position
  /** It has failures of tasks that were run again since: it must be written anew. */
  outdated: boolean
}

/**
 * Finds where an earlier run stopped writing. An output is exactly the job's results in their order, and a line depends
 * on nothing but its result; so every line must be that of the next result, and what a killed run left of a line must be
 * how that line begins. Besides, there may be failures that were taken back when the job was retried. The file is not touched.
 *
 * @throws InputError if the file holds anything else
 */
export async function findPosition(
  path: string,
  job: Job | undefined,
  wasRetried: boolean,
  signal?: AbortSignal,
): Promise<Found> {
  if ((await outputSize(path)) === 0) return { position: START, outdated: false }
  const rows = job && presentResults(job, signal)
  const next = async () => (await rows?.next())?.value ?? undefined
  let row = await next()
  let position = START
  let outdated = false
  for await (const { number, bytes, ended } of readLines(path, limits.body)) {
    const line = row && Buffer.from(toLine(row))
    if (row && line?.subarray(0, ended ? -1 : bytes.length).equals(bytes)) {
      if (!ended) break
      position = advance(position, [row], line.length)
      row = await next()
    } else if (wasRetried && (!ended || isFailure(bytes))) outdated = true
    else throw foreign(path, number)
  }
  return outdated ? { position: START, outdated } : { position, outdated }
}

/** Whether a line tells of a task that failed. */
function isFailure(line: Buffer): boolean {
  const told = Failure.safeParse(parseJson(line.toString()))
  return told.success
}

const Failure = z.object({ id: z.string(), status: z.enum(['error', 'crash']), error: z.string() })

/** The results that are there already. */
async function* presentResults(job: Job, signal?: AbortSignal) {
  for await (const { results } of job.pages({ limit: 5000, waitMs: 0, signal })) {
    if (results.length === 0) return
    yield* results
  }
}

const foreign = (path: string, line: number) =>
  new InputError(
    `${path} is not the output of this job (line ${line}): choose another --out, or move the file away and it is ` +
      'written again without inferring anything twice; --restart overwrites it and begins anew',
  )

export interface Output extends AsyncDisposable {
  /** Where the next result goes. */
  readonly position: Position
  write(rows: ResultRow[]): Promise<void>
  /** Throws away what is in it. */
  clear(): Promise<void>
  /** Resolves once everything written is safe on the disk. */
  sync(): Promise<void>
}

/**
 * Opens an output to write on from a position. Writes go to fixed places: a line that a killed run left torn is
 * completed, and two runs of the same command that overlap write the same bytes to the same places.
 */
export async function openOutput(path: string, from: Position): Promise<Output> {
  const file = await open(path, constants.O_WRONLY | constants.O_CREAT, 0o666)
  let position = from
  return {
    get position() {
      return position
    },
    async write(rows) {
      const text = Buffer.from(rows.map(toLine).join(''))
      try {
        for (let done = 0; done < text.length;) {
          const { bytesWritten } = await file.write(text, done, text.length - done, position.bytes + done)
          done += bytesWritten
        }
      } catch (error) {
        // The system knows a file it writes to by number only.
        throw Object.assign(error as Error, { path })
      }
      position = advance(position, rows, text.length)
    },
    async clear() {
      await file.truncate(0)
      position = START
    },
    sync: () => file.sync(),
    [Symbol.asyncDispose]: () => file.close(),
  }
}
