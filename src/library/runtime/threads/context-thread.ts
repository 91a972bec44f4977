import { once } from 'node:events'
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { parseExactly } from '../../../protocol/json/exact-numbers.ts'
import { toTaskError } from '../../../common/task-errors.ts'
import type { Call, CallReporter, Load, LoadedContext, Setup } from '../library-kind.ts'
import type { FromThread, ToThread } from './thread-messages.ts'

/** Loads a context in this thread, and runs windows of calls in it as the main thread says, until it is told to close. */
export async function serveThread(load: Load): Promise<void> {
  const port = parentPort as MessagePort
  const tell = (message: FromThread): void => {
    port.postMessage(message)
  }
  const context = await load(workerData as Setup).catch((error: unknown) => {
    tell({ type: 'failed', error: toTaskError(error) })
    return undefined
  })
  if (!context) return port.close()
  const reporter = createThreadReporter(tell)
  port.on('message', (message: ToThread) => {
    switch (message.type) {
      case 'run':
        return void runCalls(context, message, reporter).then(() => tell({ type: 'done' }))
      case 'begun':
        return reporter.onBegun(message.ids)
      case 'cancelled':
        return reporter.cancel(message.id)
      case 'close':
        return void context.close().finally(() => port.close())
    }
  })
  tell({ type: 'ready', level: context.level, functions: [...context.functions.keys()] })
  await once(port, 'close')
}

async function runCalls(
  context: LoadedContext,
  { name, calls }: Extract<ToThread, { type: 'run' }>,
  reporter: CallReporter,
): Promise<void> {
  const window = (parseExactly(calls) as [number, Call['input']][]).map(([id, input]) => ({ id, input }))
  await context.functions.get(name)?.(window, reporter)
}

/** Passes on to the main thread what a kind reports, one window at a time. */
function createThreadReporter(tell: (message: FromThread) => void) {
  const cancelled = new Map<number, AbortController>()
  let onBegun: (ids: readonly number[]) => void = () => undefined
  const controllerOf = (id: number) => {
    const controller = cancelled.get(id) ?? new AbortController()
    cancelled.set(id, controller)
    return controller
  }
  return {
    onBegun: (ids: readonly number[]) => onBegun(ids),
    cancel: (id: number) => controllerOf(id).abort(),
    begin: (calls) =>
      new Promise((resolve) => {
        onBegun = (ids) => {
          const begun = new Set(ids)
          resolve(calls.filter(({ id }) => begun.has(id)))
        }
        tell({ type: 'begin', ids: calls.map(({ id }) => id) })
      }),
    end({ id }, outcome) {
      cancelled.delete(id)
      const { log } = outcome
      tell({
        type: 'end',
        id,
        outcome: 'error' in outcome ? { error: toTaskError(outcome.error), log } : outcome,
      })
    },
    part: ({ id }, part) => tell({ type: 'part', id, part }),
    progress: (calls, done, total) => tell({ type: 'progress', ids: calls.map(({ id }) => id), done, total }),
    isCancelled: ({ id }) => cancelled.get(id)?.signal.aborted ?? false,
    signal: ({ id }) => controllerOf(id).signal,
  } satisfies CallReporter & Record<string, unknown>
}
