import { EventEmitter, once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { limits } from '../../protocol/primitives.ts'
import type { FromLibrary, ToLibrary } from '../../protocol/library.ts'
import { type JsonLinesChannel, JsonLinesError } from '../../common/json-lines-channel.ts'
import { type CallDesk, createCallReporter } from './call-reporter.ts'
import { InputError, toTaskError } from '../../common/task-errors.ts'
import type { CallReporter, Load, LoadedContext } from './library-kind.ts'
import { type CallQueue, createQueue, type Window } from './call-queue.ts'

/** Calls handed to a function at once: enough to sort by length, few enough to leave others their turn. */
const WINDOW_CALLS = 4096
/**
 * More calls than this never wait: a worker keeps as many in hand as are done in seconds. They are not left unread
 * instead, because the end of the stream must be noticed at any time.
 */
const QUEUE_CALLS = 10 * limits.batch
/** How long a call that runs, and then the context, may take to come to an end once the worker is gone, milliseconds. */
const CLOSE_MS = 800

/**
 * Loads one context and answers calls in it until the worker ends the stream.
 *
 * @returns the status to exit with: 0, or 1 if the context could not be made
 * @throws {JsonLinesError} when the worker does not keep to the protocol
 * @throws {ChildGone} when a process that held the context has gone
 */
export async function serve(channel: JsonLinesChannel<ToLibrary, FromLibrary>, load: Load): Promise<number> {
  const messages = channel.messages[Symbol.asyncIterator]()
  const first = await messages.next()
  if (first.done) return 0
  if (first.value.type !== 'setup') throw new JsonLinesError('the first message must be a setup')

  const queue = createQueue()
  const bell = new EventEmitter().setMaxListeners(0)
  const reporter = createCallReporter(channel, queue)
  const gone = read(messages, queue, reporter, bell)
  const started = performance.now()
  const loading = load(first.value).then(
    (context) => ({ context }),
    (error: unknown) => ({ error }),
  )
  const loaded = await Promise.race([loading, gone])
  if (loaded === undefined) return 0
  if ('error' in loaded) {
    await channel.send({ type: 'failed', error: toTaskError(loaded.error) })
    return 1
  }

  const { context } = loaded
  await channel.send({ type: 'ready', level: context.level, loadMs: performance.now() - started })
  const stop = new AbortController()
  const lanes = Array.from({ length: context.lanes?.count ?? 1 }, () =>
    work(context, queue, bell, reporter, stop.signal),
  )
  const working = Promise.all(lanes)
  const lost = await Promise.race([gone, working, context.lost ?? gone])
  if (lost instanceof Error) throw lost
  stop.abort()
  bell.emit('call')
  await Promise.race([working, delay(CLOSE_MS)])
  await Promise.race([context.close(), delay(CLOSE_MS)])
  return 0
}

/** Puts the worker's calls into the queue until the stream ends. */
async function read(
  messages: AsyncIterator<ToLibrary>,
  queue: CallQueue,
  reporter: CallDesk,
  bell: EventEmitter,
): Promise<undefined> {
  for (let next = await messages.next(); !next.done; next = await messages.next()) {
    const message = next.value
    if (message.type === 'setup') throw new JsonLinesError('a library has one setup')
    if (message.type === 'cancel') {
      reporter.cancel(message.ids)
      continue
    }
    queue.add(message.function, message.calls)
    if (queue.size > QUEUE_CALLS) throw new JsonLinesError(`more than ${QUEUE_CALLS} calls wait: send fewer`)
    bell.emit('call')
  }
  queue.clear()
  return undefined
}

async function work(
  context: LoadedContext,
  queue: CallQueue,
  bell: EventEmitter,
  reporter: CallReporter,
  stop: AbortSignal,
): Promise<void> {
  while (!stop.aborted) {
    const window = queue.take(windowSize(context.lanes, queue.size))
    if (window) await runWindow(context, window, reporter)
    else await once(bell, 'call')
  }
}

function windowSize(lanes: LoadedContext['lanes'], waiting: number): number {
  if (!lanes) return WINDOW_CALLS
  return lanes.calls === 'one' ? 1 : Math.max(1, Math.min(WINDOW_CALLS, Math.ceil(waiting / lanes.count)))
}

async function runWindow(
  context: LoadedContext,
  { name, calls }: Window,
  reporter: CallReporter,
): Promise<void> {
  const run = context.functions.get(name)
  if (run) return run(calls, reporter)
  const known = [...context.functions.keys()].join(', ')
  const error = new InputError(`the context has no function "${name}"; it has ${known}`)
  for (const call of await reporter.begin(calls)) reporter.end(call, { error })
}
