import { limits } from '../../protocol/primitives.ts'
import { isDeeperThan } from '../../protocol/json/json-depth.ts'
import type { Outcome } from '../../protocol/task.ts'

/** An outcome that the manager will take, and its size as JSON, bytes. */
export interface FittedOutcome {
  outcome: Outcome
  bytes: number
}

/** Nesting that an outcome adds to its value. */
const OUTCOME_DEPTH = 1

/**
 * Makes an outcome fit to be sent. A value that the manager would refuse becomes an error of its task: together with it the
 * manager would refuse all other results of the request, and that from every worker that ran the task.
 */
export function fitOutcome(outcome: Outcome): FittedOutcome {
  const text = toJson(outcome)
  if (text === undefined) return tooDeep()
  const json = Buffer.from(text)
  if (outcome.status === 'done') {
    if (json.length > limits.value) return tooLarge(json.length)
    if (isDeeperThan(limits.depth + OUTCOME_DEPTH, json)) return tooDeep()
  }
  return { outcome, bytes: json.length }
}

/** Undefined if it is nested so deep that it has no text. */
function toJson(outcome: Outcome): string | undefined {
  try {
    return JSON.stringify(outcome)
  } catch {
    return undefined
  }
}

function tooLarge(bytes: number): FittedOutcome {
  return failure(
    'ResultTooLarge',
    `the result is ${bytes} bytes of JSON, more than the ${limits.value} that are taken: ` +
      'return less, or write it to a file and return its name',
  )
}

function tooDeep(): FittedOutcome {
  const message = `the result nests arrays and objects more than ${limits.depth} deep: return it flatter`
  return failure('ResultTooDeep', message)
}

function failure(name: string, message: string): FittedOutcome {
  return { outcome: { status: 'error', error: { name, message } }, bytes: name.length + message.length }
}
