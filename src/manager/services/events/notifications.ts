import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { request } from 'undici'
import type { EventType, NewEvent } from '../../../protocol/events.ts'

/** Where events of some types are told: to a command or to a webhook. */
export interface NotifyTarget {
  on: readonly EventType[]
  /** One of these. */
  command?: readonly string[] | undefined
  webhook?: string | undefined
}

/** Events that may wait for one target; of more the newest are dropped. */
const MAX_WAITING = 100
/** Longest run of a command, and longest wait for a webhook's answer, milliseconds. */
const LIMIT_MS = 30_000
const ATTEMPTS = 3
const RETRY_MS = 1_000

type Timed = NewEvent & { at: number }

/**
 * Tells an event's target of events, one after the other. What fails is logged and never holds up anything else.
 * @returns what is to be called with each event
 */
export function notifier(targets: readonly NotifyTarget[], log: Logger): (event: Timed) => void {
  const tells = targets.map((target) => queueFor(target, log))
  return (event) => {
    for (const [i, { on }] of targets.entries()) if (on.includes(event.type)) tells[i]!(event)
  }
}

function queueFor(target: NotifyTarget, log: Logger): (event: Timed) => void {
  const waiting: Timed[] = []
  let isBusy = false
  async function work(): Promise<void> {
    isBusy = true
    for (let event = waiting.shift(); event; event = waiting.shift()) {
      const text = JSON.stringify(event)
      await (target.command ? runCommand(target.command, text) : post(target.webhook!, text)).catch(
        (error: unknown) => log.warn({ err: error, event: event.type }, 'a notification failed'),
      )
    }
    isBusy = false
  }
  return (event) => {
    if (waiting.length >= MAX_WAITING)
      log.warn({ event: event.type }, 'a notification was dropped: too many wait')
    else waiting.push(event)
    if (!isBusy) void work()
  }
}

/** Without a shell; the event is its standard input. */
function runCommand([program, ...args]: readonly string[], text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program!, args, {
      stdio: ['pipe', 'ignore', 'ignore'],
      timeout: LIMIT_MS,
      killSignal: 'SIGKILL',
    })
    child.once('error', reject)
    child.once('close', (code, signal) =>
      code === 0 ? resolve() : reject(new Error(`${program} ended with ${signal ?? code}`)),
    )
    // One that does not read its input has its reasons.
    child.stdin.on('error', () => {})
    child.stdin.end(text)
  })
}

async function post(url: string, body: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      const answer = await request(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
        headersTimeout: LIMIT_MS,
        bodyTimeout: LIMIT_MS,
        signal: AbortSignal.timeout(LIMIT_MS),
      })
      await answer.body.dump()
      if (answer.statusCode < 300) return
      throw new Error(`the webhook answered with HTTP status ${answer.statusCode}`)
    } catch (error) {
      if (attempt === ATTEMPTS) throw error
      await sleep(RETRY_MS * 2 ** (attempt - 1), undefined, { ref: false })
    }
  }
}
