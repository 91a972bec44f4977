import type { ContextSpec } from '../../../protocol/contexts/context.ts'
import { conflict, notFound, RequestError } from '../../http/api-errors.ts'
import type { JobRow } from '../../ledger/job-store.ts'

/* What clients are told that ask for something a job cannot do. */

export function noSuchJob(id: number): RequestError {
  return notFound(`there is no job ${id}; \`factory jobs\` lists them`)
}

/** To add tasks to a job that was cancelled. */
export function wasCancelled({ name }: JobRow): RequestError {
  return conflict(`job "${name}" was cancelled`)
}

/** To make a job with the name of one that was cancelled. */
export function nameOfCancelled({ name }: JobRow): RequestError {
  return conflict(`job "${name}" was cancelled: give the new one another name`)
}

/**
 * To make a job with the name of one that does something else.
 * @param other the context of that one
 */
export function nameTaken(
  { id, name, function: fn }: JobRow,
  other: ContextSpec,
  wanted: { context: string; function: string },
): RequestError {
  return conflict(
    other.name === wanted.context && fn === wanted.function
      ? `context "${wanted.context}" has changed since job ${id} ("${name}"): use another name`
      : `job ${id} ("${name}") was made for ${fn} of context "${other.name}": use another name`,
  )
}

/** To delete a job that has not ended. */
export function stillOpen(id: number): RequestError {
  return conflict(`job ${id} has not ended: wait for it, or cancel it with \`factory cancel ${id}\``)
}

/** To read results from a cursor that is void. */
export function rewound({ id, name }: JobRow): RequestError {
  return new RequestError(
    409,
    'GLEANER_RESULTS_REWOUND',
    `results of job ${id} ("${name}") were taken back, or the ledger was restored: read them from the first`,
  )
}
