import type { JsonText } from '../protocol/json/json-text.ts'
import type { TaskError } from '../protocol/task.ts'
import { describeFailure, failureOfTask } from './error-bodies.ts'
import { newId } from './file-store.ts'
import type { Endpoint, EndpointFunction } from './endpoint-functions.ts'
import { responseOf } from './response-bodies.ts'

interface OutputLine {
  /** Whether it belongs into the file of errors. */
  isError: boolean
  text: string
}

/** A value as a line of a batch's output. */
export function resultLine(
  custom_id: string,
  value: JsonText | undefined,
  how: { speaks: EndpointFunction['speaks']; endpoint: Endpoint; named: { model: string; created: number } },
): OutputLine {
  try {
    const body = responseOf(value ? [value] : [], how)
    const head = { id: newId('batch_req_'), custom_id }
    const response = `{"status_code":200,"request_id":${JSON.stringify(newId('req_'))},"body":${body}}`
    return {
      isError: false,
      text: `${JSON.stringify(head).slice(0, -1)},"response":${response},"error":null}\n`,
    }
  } catch (error) {
    const { status, body } = describeFailure(error)
    return { isError: true, text: failedLine(custom_id, status, body) }
  }
}

/** A task that failed as a line of a batch's errors. */
export function errorLine(custom_id: string, error: TaskError | undefined): OutputLine {
  if (error === undefined)
    return {
      isError: true,
      text: withError(custom_id, { code: 'batch_cancelled', message: 'the request was not run' }),
    }
  const { status, body } = describeFailure(failureOfTask(error))
  return { isError: true, text: failedLine(custom_id, status, body) }
}

function failedLine(custom_id: string, status_code: number, body: object): string {
  const response = { status_code, request_id: newId('req_'), body }
  return `${JSON.stringify({ id: newId('batch_req_'), custom_id, response, error: null })}\n`
}

function withError(custom_id: string, error: { code: string; message: string }): string {
  return `${JSON.stringify({ id: newId('batch_req_'), custom_id, response: null, error })}\n`
}
