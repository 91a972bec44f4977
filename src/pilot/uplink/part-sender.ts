import { createWakeUp } from '../../common/wake-up.ts'
import { limits } from '../../protocol/primitives.ts'
import type { PartsRequest, PartsResponse } from '../../protocol/worker.ts'

type Part = PartsRequest['parts'][number]

/** Takes parts of values to the manager beside the exchange, as they come. */
export interface PartSender {
  send(part: Part): void
  /** Sends no more. */
  close(): void
}

export interface PartSenderOptions {
  send: (parts: Part[]) => Promise<PartsResponse>
  /** Tasks of these leases are the worker's no longer, or have ended meanwhile. */
  onLost: (leases: number[]) => void
}

/** Parts that come within this time after others travel together, milliseconds; the first of a value does not wait. */
const GAP_MS = 20
/** Most parts that wait: the value says again what is dropped. */
const WAITING_MAX = 10_000
/** Tasks without a reader that are remembered. */
const UNREAD_MAX = 10_000

const isFirst = ({ n }: Part) => n === 0

/** The first part of a value goes at once; those that come while others are on their way, and shortly after, go together. */
export function createPartSender({ send, onLost }: PartSenderOptions): PartSender {
  const hurry = createWakeUp()
  let closed = false
  const unread = new Set<number>()
  let waiting: Part[] = []
  let sending = false

  async function sendAll(): Promise<void> {
    sending = true
    while (waiting.length > 0 && !closed) {
      const parts = waiting.slice(0, limits.parts)
      waiting = waiting.slice(limits.parts)
      // What does not arrive comes with the value.
      const answer = await send(parts).catch(() => undefined)
      if (answer) take(parts, answer)
      if (!waiting.some(isFirst)) await hurry.wait(GAP_MS)
    }
    sending = false
  }

  function take(sent: readonly Part[], answer: PartsResponse): void {
    for (const task of answer.unread) unread.add(task)
    for (const task of unread) if (unread.size > UNREAD_MAX) unread.delete(task)
    waiting = waiting.filter(({ task }) => !unread.has(task))
    const lost = sent.filter(({ task }) => answer.lost.includes(task))
    if (lost.length > 0) onLost(lost.map(({ lease }) => lease))
  }

  return {
    send(part) {
      if (closed || unread.has(part.task) || waiting.length >= WAITING_MAX) return
      waiting.push(part)
      if (!sending) void sendAll()
      else if (isFirst(part)) hurry.wake()
    },
    close() {
      closed = true
      hurry.wake()
    },
  }
}
