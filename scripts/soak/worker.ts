import { setTimeout as sleep } from 'node:timers/promises'
import type { TaskResult } from '../../src/protocol/task.ts'
import type { ExchangeResponse } from '../../src/protocol/worker.ts'
import { HttpWorker, registration } from '../../test/support/manager.ts'
import type { Random } from '../support/random.ts'
import type { SoakRecord } from './expected-ledger.ts'

const ROOM = 200
const RETRY_MS = 30

export interface SoakWorker {
  url: string
  /** A pilot's one-time token. */
  token: string
  record: SoakRecord
  random: Random
  /** Its process ends, without a word. */
  killed: AbortSignal
}

interface Ended {
  task: number
  lease: number
  key: string
  value: string
}

/** A worker as the manager sees one: it keeps asking while the manager is away, and forgets nothing it was not told to. */
export async function runWorker(options: SoakWorker): Promise<void> {
  const { record, random, killed } = options
  const request = registration()
  const worker = await untilAnswered(() => HttpWorker.join(options.url, options.token, request), killed)
  if (!worker) return
  const taskQueue = new Map<number, { lease: number; key: string }>()
  let ended: Ended[] = []
  while (!killed.aborted) {
    const seq = worker.seq
    const results = ended.map(toResult)
    const leases = [...new Set([...taskQueue.values()].map(({ lease }) => lease))]
    const waitMs = taskQueue.size === 0 && results.length === 0 ? 500 : 0
    const room = ROOM - taskQueue.size
    const answer = await untilAnswered(async () => {
      const { status, body } = await worker.exchange({ seq, results, leases, room, waitMs })
      if (status === 200) return body
      if (status !== 409) throw new Error(`${worker.id} was refused: ${status} ${JSON.stringify(body)}`)
      return undefined
    }, killed)
    if (!answer) break
    for (const { key, value } of ended) record.settle(key, value)
    take(taskQueue, answer, random)
    await sleep(random.between(0, 15))
    ended = finish(taskQueue, worker.id, options)
  }
  await worker.die()
}

function take(
  taskQueue: Map<number, { lease: number; key: string }>,
  answer: ExchangeResponse,
  random: Random,
): void {
  for (const task of answer.cancel) taskQueue.delete(task)
  for (const [task, { lease }] of taskQueue) {
    // What has begun may be reported, though the lease is no longer its own.
    if (answer.revoke.includes(lease) && !random.chance(0.1)) taskQueue.delete(task)
  }
  for (const { lease, tasks } of answer.leases) {
    for (const { task, input } of tasks) taskQueue.set(task, { lease, key: (input as { key: string }).key })
  }
}

/** Ends some of the tasks in hand, or all. */
function finish(
  taskQueue: Map<number, { lease: number; key: string }>,
  worker: string,
  { record, random }: SoakWorker,
): Ended[] {
  const count = random.chance(0.5) ? taskQueue.size : random.between(0, taskQueue.size)
  return [...taskQueue].slice(0, count).map(([task, { lease, key }]) => {
    taskQueue.delete(task)
    const value = `${key} by ${worker} under ${lease}`
    record.compute(key, value)
    return { task, lease, key, value }
  })
}

const toResult = ({ task, lease, value }: Ended): TaskResult => ({
  task,
  lease,
  outcome: { status: 'done', value },
  ms: 1,
})

/** Asks again while the manager is away. Undefined if the worker is killed. */
async function untilAnswered<T>(
  request: () => Promise<T | undefined>,
  killed: AbortSignal,
): Promise<T | undefined> {
  while (!killed.aborted) {
    try {
      const answer = await request()
      if (answer !== undefined) return answer
    } catch (error) {
      if (!isConnectionError(error)) throw error
    }
    await sleep(RETRY_MS)
  }
  return undefined
}

/** The connection failed, or ended before the answer was whole. */
function isConnectionError(error: unknown): boolean {
  const { code = '' } = error as NodeJS.ErrnoException
  return code.startsWith('UND_ERR') || code.startsWith('E')
}
