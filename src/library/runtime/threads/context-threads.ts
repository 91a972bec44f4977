import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { findProgram } from '../../../common/processes/find-program.ts'
import { stringifyExactly } from '../../../protocol/json/exact-numbers.ts'
import type { Call, CallReporter, LoadedContext, RunFunction, Setup } from '../library-kind.ts'
import { type FromThread, reviveError, type ToThread } from './thread-messages.ts'

/** The library's program: bundled beside this one, as source, or compiled. */
const PROGRAM = ['./library.js', '../../main.ts', '../../main.js']

/**
 * Loads a context in several threads of this process, each of which holds it by itself and runs windows of its own. That
 * suits what is small and computed in many little steps, which more processors hardly make faster.
 *
 * @param setup what each of them is to load
 */
export async function loadInThreads(setup: Setup, count: number): Promise<LoadedContext> {
  const threads = Array.from({ length: count }, (_, i) => startThread(setup, i === 0))
  const close = () => Promise.all(threads.map((thread) => thread.close())).then(() => undefined)
  const [first] = await Promise.all(threads.map(({ ready }) => ready)).catch(async (error: unknown) => {
    await close()
    throw error
  })
  const { level, functions } = first as Ready
  const idle = [...threads]
  const runIn =
    (name: string): RunFunction =>
    async (window, reporter) => {
      const thread = idle.pop() as ContextThread
      await thread.run(name, window, reporter)
      idle.push(thread)
    }
  return {
    level,
    functions: new Map(functions.map((name) => [name, runIn(name)])),
    lanes: { count, calls: 'share' },
    lost: Promise.race(threads.map(({ gone }) => gone)),
    close,
  }
}

type Ready = Extract<FromThread, { type: 'ready' }>

interface ContextThread {
  readonly ready: Promise<Ready>
  /** Resolves with the reason once it has ended by itself. */
  readonly gone: Promise<Error>
  run: RunNamed
  close(): Promise<void>
}

type RunNamed = (name: string, ...run: Parameters<RunFunction>) => Promise<void>

/** @param speaks whether what it prints as it loads is to be read; the others print the same */
function startThread(setup: Setup, speaks: boolean): ContextThread {
  const program = findProgram("the library's program", import.meta.url, PROGRAM)
  const worker = new Worker(program, { workerData: setup, stderr: !speaks })
  const gone = once(worker, 'exit').then(
    ([code]) => new Error(`a thread of the library ended with code ${String(code)}`),
    (error: unknown) => error as Error,
  )
  const tell = (message: ToThread) => worker.postMessage(message)
  const ready = new Promise<Ready>((resolve, reject) => {
    worker.on('message', (message: FromThread) => {
      if (message.type === 'ready') resolve(message)
      if (message.type === 'failed') reject(reviveError(message.error))
    })
    void gone.then(reject)
  })
  return {
    ready,
    gone,
    run: (name, window, reporter) => runWindow(worker, tell, { name, window, reporter }),
    async close() {
      tell({ type: 'close' })
      await gone
    },
  }
}

interface Run {
  readonly name: string
  readonly window: readonly Call[]
  readonly reporter: CallReporter
}

/** Has a thread run calls, and reports what it says of them. */
async function runWindow(
  worker: Worker,
  tell: (message: ToThread) => void,
  { name, window, reporter }: Run,
): Promise<void> {
  const calls = new Map(window.map((call) => [call.id, call]))
  const callOf = (id: number) => calls.get(id) as Call
  const begin = async (ids: readonly number[]) => {
    const begun = await reporter.begin(ids.map(callOf))
    for (const { id } of begun) {
      const signal = reporter.signal(callOf(id))
      const cancel = () => tell({ type: 'cancelled', id })
      if (signal.aborted) cancel()
      else signal.addEventListener('abort', cancel)
    }
    tell({ type: 'begun', ids: begun.map(({ id }) => id) })
  }
  await new Promise<void>((resolve) => {
    const hear = (message: FromThread) => {
      switch (message.type) {
        case 'begin':
          return void begin(message.ids)
        case 'end': {
          const { outcome } = message
          const ended = 'error' in outcome ? { ...outcome, error: reviveError(outcome.error) } : outcome
          return reporter.end(callOf(message.id), ended)
        }
        case 'part':
          return reporter.part(callOf(message.id), message.part)
        case 'progress':
          return reporter.progress(message.ids.map(callOf), message.done, message.total)
        case 'done':
          worker.off('message', hear)
          return resolve()
      }
    }
    worker.on('message', hear)
    tell({ type: 'run', name, calls: stringifyExactly(window.map(({ id, input }) => [id, input])) as string })
  })
}
