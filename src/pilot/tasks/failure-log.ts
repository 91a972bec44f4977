import type { Logger } from 'pino'
import { taskTraceparent, traceFields } from '../../protocol/trace-context.ts'
import type { EndedTask } from './task-queue.ts'

/** Failures that one worker logs. The manager is told of all of them. */
const MOST = 100

/** Says in the log which tasks failed here, by their job and trace; not how often beyond some. */
export function createFailureLog(log: Logger): (ended: readonly EndedTask[]) => void {
  let left = MOST
  return (ended) => {
    for (const { task, outcome, ms } of ended) {
      if (outcome.status !== 'error' && outcome.status !== 'crash') continue
      if (left-- <= 0) return
      const { name, message } = outcome.error
      const where = { job: task.job, task: task.task, ...spanOf(task) }
      log.warn({ ...where, status: outcome.status, ms, error: { name, message } }, 'a task failed')
      if (left === 0) log.warn('tasks that fail from here on are not logged')
    }
  }
}

const spanOf = ({ traceparent, task }: EndedTask['task']) => traceFields(taskTraceparent(traceparent, task))
