import type { Logger } from 'pino'
import { createBell } from '../../src/pilot/bell.ts'
import { exchangeUntilOver, type Party } from '../../src/pilot/exchange.ts'
import {
  acknowledge,
  addLease,
  emptyHand,
  finish,
  forget,
  queuedIn,
  report,
  takeTogether,
  unfinishedIn,
} from '../../src/pilot/hand.ts'
import { createLink } from '../../src/pilot/link.ts'
import { moreTasks, observe, rateOf, unmeasured } from '../../src/pilot/sizing.ts'
import { ExchangeResponse, RegisterResponse } from '../../src/protocol/worker.ts'
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
  const link = createLink({ origins: [url], patienceMs: 600_000, log })
  const hand = emptyHand()
  const bell = createBell()
  let meter = unmeasured
  let newsSince: number | undefined = performance.now()
  let running: NodeJS.Timeout | undefined

  function run(): void {
    if (running) return
    const [task] = takeTogether(hand, context, 1)
    if (!task) return
    const ms = taskMs * (0.5 + Math.random())
    running = setTimeout(() => {
      running = undefined
      meter = observe(meter, 1, ms, ms)
      finish(hand, task, { status: 'done', value: task.input }, ms)
      newsSince ??= performance.now()
      run()
      bell.ring()
    }, ms)
  }

  const party: Party = {
    moment: () => ({
      now: performance.now(),
      newsSince,
      rate: rateOf(meter),
      hungry: queuedIn(hand, context) === 0,
      climbing: false,
    }),
    compose(waitMs) {
      const { results, leases } = report(hand)
      newsSince = undefined
      const inHand = unfinishedIn(hand, context)
      const { leaseTargetMs } = terms
      const tasks = moreTasks({ meter, inHand, slots: 1, batch: 1, leaseTargetMs })
      const contexts = [{ context, level: 'memory' as const, attempts: 1 }]
      return { results, leases, contexts, want: [{ context, tasks }], rate: rateOf(meter), waitMs }
    },
    apply(answer) {
      acknowledge(hand)
      forget(hand, answer.cancel, answer.revoke)
      for (const lease of answer.leases) addLease(hand, lease)
      run()
    },
    isOver: () => false,
  }

  link.authorise(token)
  const body = JSON.stringify(registration())
  const register = { method: 'POST', path: '/v1/workers', body, answer: RegisterResponse, signal } as const
  const terms = await link.call(register)
  link.authorise(terms.session)
  const send = async (request: { waitMs: number }, given: AbortSignal) => {
    const startedAt = performance.now()
    const answer = await link.call({
      method: 'POST',
      path: `/v1/workers/${terms.worker}/exchange`,
      body: JSON.stringify(request),
      answer: ExchangeResponse,
      waitMs: request.waitMs,
      signal: given,
    })
    if (request.waitMs === 0) onExchange(performance.now() - startedAt)
    return answer
  }
  try {
    await exchangeUntilOver({ party, send, bell, leaseMs: terms.leaseMs, signal })
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    clearTimeout(running)
    await link.close()
  }
}
