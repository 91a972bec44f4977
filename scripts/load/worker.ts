import type { Logger } from 'pino'
import { createWakeUp } from '../../src/common/wake-up.ts'
import { exchangeUntilOver, type ExchangeParty } from '../../src/pilot/uplink/exchange-loop.ts'
import {
  acknowledge,
  addLease,
  emptyTaskQueue,
  finishTask,
  forgetTasks,
  queuedIn,
  takeNext,
  takeReport,
  unfinishedIn,
} from '../../src/pilot/tasks/task-queue.ts'
import { createManagerClient } from '../../src/pilot/uplink/manager-client.ts'
import { moreTasks, observeCalls, rateOf, unmeasured } from '../../src/pilot/policy/lease-sizing.ts'
import { workerRoutes } from '../../src/protocol/routes/worker-routes.ts'
import type { ExchangeRequest } from '../../src/protocol/worker.ts'
import { CONTEXT, registration } from '../../test/support/manager.ts'

export interface SimulatedWorker {
  url: string
  /** A pilot's one-time token. */
  token: string
  /** Time that its library takes for a task, milliseconds. */
  taskMs: number
  /** Told how long the manager took for each request that it could answer at once, milliseconds. */
  onExchange: (ms: number) => void
  /** Told of each request that had to be sent again. */
  onRetry: () => void
  signal: AbortSignal
}

const context = CONTEXT.id

/**
 * A worker that is real but for its library, which only lets time pass: it registers, exchanges, asks for as much work as
 * it is worth, and keeps results until they are acknowledged. Runs until the signal.
 */
export async function simulateWorker(options: SimulatedWorker): Promise<void> {
  const { url, token, taskMs, onExchange, onRetry, signal } = options
  const log = { warn: onRetry } as unknown as Logger
  const client = createManagerClient({ origins: [url], patienceMs: 600_000, log })
  const taskQueue = emptyTaskQueue()
  const wakeUp = createWakeUp()
  let meter = unmeasured
  let unreportedSince: number | undefined = performance.now()
  let running: NodeJS.Timeout | undefined

  function run(): void {
    if (running) return
    const [task] = takeNext(taskQueue, context, 0, 1)
    if (!task) return
    const ms = taskMs * (0.5 + Math.random())
    running = setTimeout(() => {
      running = undefined
      meter = observeCalls(meter, 1, ms, ms)
      finishTask(taskQueue, { task, outcome: { status: 'done', value: task.input }, ms })
      unreportedSince ??= performance.now()
      run()
      wakeUp.wake()
    }, ms)
  }

  const party: ExchangeParty = {
    moment: () => ({
      now: performance.now(),
      unreportedSince,
      rate: rateOf(meter),
      starving: queuedIn(taskQueue, context) === 0,
      warming: false,
    }),
    compose(waitMs) {
      const { results, leases } = takeReport(taskQueue)
      unreportedSince = undefined
      const inHand = unfinishedIn(taskQueue, context)
      const { leaseTargetMs } = terms
      const tasks = moreTasks({ meter, inHand, slots: 1, batch: 1, leaseTargetMs })
      const contexts = [{ context, level: 'memory' as const, attempts: 1 }]
      return { results, leases, contexts, want: [{ context, tasks }], rate: rateOf(meter), waitMs }
    },
    apply(answer) {
      acknowledge(taskQueue)
      forgetTasks(taskQueue, answer.cancel, answer.revoke)
      for (const lease of answer.leases) addLease(taskQueue, lease)
      run()
    },
    isOver: () => false,
  }

  client.authorise(token)
  const terms = await client.call(workerRoutes.register, { body: registration(), signal })
  client.authorise(terms.session)
  const params = { worker: terms.worker }
  const send = async (request: ExchangeRequest, given: AbortSignal) => {
    const startedAt = performance.now()
    const asked = { params, body: request, waitMs: request.waitMs, signal: given }
    const answer = await client.call(workerRoutes.exchange, asked)
    if (request.waitMs === 0) onExchange(performance.now() - startedAt)
    return answer
  }
  try {
    await exchangeUntilOver({ party, send, wakeUp, workerTimeoutMs: terms.workerTimeoutMs, signal })
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    clearTimeout(running)
    await client.close()
  }
}
