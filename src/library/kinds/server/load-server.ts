import { delimiter } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Dispatcher } from 'undici'
import { CancelledError } from '../../../common/task-errors.ts'
import { type JsonValue, limits } from '../../../protocol/primitives.ts'
import type { LibrarySpec, ServerFunction } from '../../../protocol/contexts/context.ts'
import { type ContextProcess, foldersBeside, startContextProcess } from '../../runtime/context-process.ts'
import {
  bundleFolder,
  type Call,
  type CallOutcome,
  type CallReporter,
  type LoadedContext,
  type RunFunction,
  type Setup,
} from '../../runtime/library-kind.ts'
import { logOf, appendOutput, type CapturedOutput } from '../../runtime/captured-output.ts'
import { ask, BusyError, ConnectionError, FailingServerError, ServerError } from './http-request.ts'
import { type Endpoint, openEndpoint, PortTakenError } from './endpoint.ts'
import { renderText } from './request-template.ts'
import { createRequestGate } from './request-gate.ts'

type ServerSpec = Extract<LibrarySpec, { library: 'server' }>

const ADVICE = "load its module in the site's `setup`, or name its file in a bundle"
/** Time between looks at whether it is healthy, and the time one look may take, milliseconds. */
const LOOK_MS = 100
const ANSWER_MS = 5_000
/** How long the end of a server may take to be noticed after its connections broke, milliseconds. */
const NOTICE_MS = 1_000
/** What a server writes about a call that fails may be read this much later than its answer, milliseconds. */
const WORDS_MS = 100

/** How often a call is made that the server may not be to blame for only once. */
const ATTEMPTS = 3
/** How long a server that does not look healthy may take to look so again, milliseconds: one that is busy is not started anew. */
const RECOVERY_MS = 3_000

/** How often a server is started anew because another program has taken its port first. */
const TRIES = 5

/** A server that is healthy. */
interface Running {
  readonly child: ContextProcess
  readonly server: Dispatcher
  readonly output: CapturedOutput
  close(): Promise<void>
}

/**
 * Loads a context that is a server: starts its command, and waits until it is healthy. Calls are requests to it, several at
 * once.
 *
 * @throws {ServerError} if it is not healthy in time, ChildGone if it ends before; `stack` is the last it has written
 */
export async function loadServer(setup: Setup, spec: ServerSpec): Promise<LoadedContext> {
  const gate = createRequestGate(spec.setup.concurrency)
  const lost = Promise.withResolvers<Error>()
  let running: Running
  let mending: Promise<boolean> | undefined
  /** Is ended on purpose. */
  let replaced: Running | undefined

  async function start(): Promise<void> {
    const started = await startServer(setup, spec, gate.lanes)
    running = started
    void started.child.gone.then((reason) => {
      if (started !== replaced) lost.resolve(reason)
    })
  }

  /** Whether something was wrong with the server that is not any more, so that its calls can be made again. */
  const mend = async (used: Running): Promise<boolean> => {
    if (mending) return mending
    if (used !== running) return true
    const recovered = async () => {
      const health = await Promise.race([healthOf(used.server, spec.setup.healthy), used.child.gone])
      if (health instanceof Error) throw health
      if (health !== 'bad') return health === 'better'
      process.stderr.write('library: the server is not healthy any more: it is started anew\n')
      replaced = used
      await used.close()
      await start()
      return true
    }
    mending = recovered().finally(() => (mending = undefined))
    return mending
  }

  const outcomeOf = async (call: Call, how: ServerFunction, reporter: CallReporter): Promise<CallOutcome> => {
    let begun = false
    const onEvent = (event: JsonValue) => {
      begun = true
      reporter.part(call, event)
    }
    const signal = reporter.signal(call)
    for (let attempt = 1; ; attempt++) {
      const used = running
      try {
        return {
          value: await ask(used.server, how, call.input, { signal, onEvent, traceparent: call.traceparent }),
        }
      } catch (error) {
        if (error instanceof CancelledError) return { error }
        if (error instanceof ConnectionError && !mending && used === running) await throwIfGone(used.child)
        const mayBeSick = error instanceof ConnectionError || error instanceof FailingServerError
        // Another answer would not go on where this one broke off.
        if (mayBeSick && (await mend(used)) && attempt < ATTEMPTS && !begun) continue
        await delay(WORDS_MS)
        return { error, ...logOf(used.output) }
      }
    }
  }
  await start()
  const toRunFunction = (how: ServerFunction): RunFunction => {
    return async (window, reporter) => {
      for (const call of window) {
        await gate.enter()
        const [begun] = await reporter.begin([call])
        const outcome = begun && (await gate.retry(() => outcomeOf(begun, how, reporter), isBusy))
        gate.leave(outcome ? 'answered' : 'unused')
        if (begun && outcome) reporter.end(begun, outcome)
      }
    }
  }
  return {
    level: setup.device === 'cpu' ? 'memory' : 'device',
    functions: new Map(Object.entries(spec.functions).map(([name, how]) => [name, toRunFunction(how)])),
    lanes: { count: gate.lanes, calls: 'one' },
    lost: lost.promise,
    close: () => running.close(),
  }
}

async function startServer(setup: Setup, spec: ServerSpec, connections: number): Promise<Running> {
  for (let tries = 1; ; tries++) {
    try {
      return await startOnce(setup, spec, connections)
    } catch (error) {
      if (!(error instanceof PortTakenError) || tries === TRIES) throw error
      process.stderr.write(`library: ${error.message}; starting it at another port\n`)
    }
  }
}

async function startOnce(setup: Setup, spec: ServerSpec, connections: number): Promise<Running> {
  await using cleanup = new AsyncDisposableStack()
  const endpoint = cleanup.use(await openEndpoint(spec.setup))
  const [program, ...args] = spec.setup.command.map((word) =>
    renderText(word, (path) => placeholder(path, setup, endpoint), 'the command'),
  )
  // As in an activated environment: what the program starts is looked for beside it first.
  const PATH = [...foldersBeside(program!), process.env['PATH']].join(delimiter)
  const env = { ...process.env, PATH, ...endpoint.env }
  const child = startContextProcess(program!, args, { env, stdio: ['ignore', 'pipe', 'pipe'] }, ADVICE)
  const output = keepOutput(child)
  const server = endpoint.open(child.process.pid ?? 0, {
    connections,
    maxResponseSize: limits.value,
    // How long a call may take is its worker's business.
    headersTimeout: 0,
    bodyTimeout: 0,
  })
  cleanup.defer(() => server.destroy())
  cleanup.defer(() => child.stop(() => child.process.kill('SIGTERM')))
  try {
    await untilHealthy(server, child, spec.setup)
  } catch (error) {
    throw Object.assign(error as Error, { stack: logOf(output).log ?? '' })
  }
  const running = cleanup.move()
  return { child, server, output, close: () => running.disposeAsync() }
}

function isBusy(outcome: CallOutcome): boolean {
  return 'error' in outcome && outcome.error instanceof BusyError
}

function placeholder(path: string, setup: Setup, { words }: Endpoint): string | undefined {
  if (path in words) return words[path]
  if (path === 'threads') return String(setup.threads)
  if (path === 'gpus') return String(Math.max(1, setup.gpus.count))
  return bundleFolder(setup, path.replace(/^bundles\./, ''))
}

/** Passes on what the server writes, and keeps the end of it. */
function keepOutput({ process: child }: ContextProcess): CapturedOutput {
  const output: CapturedOutput = {}
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]!.setEncoding('utf8').on('data', (text: string) => {
      appendOutput(output, text)
      process[name].write(text)
    })
  }
  return output
}

/** @throws {ServerError} when it is not healthy in time, {@link PortTakenError}, ChildGone when it has ended */
async function untilHealthy(
  server: Dispatcher,
  child: ContextProcess,
  { healthy, startLimit }: ServerSpec['setup'],
): Promise<void> {
  const end = performance.now() + startLimit * 1000
  for (let found = 'nothing'; ;) {
    const status = await look(server, healthy)
    if (status !== undefined && status >= 200 && status <= 299) return
    if (status !== undefined) found = `status ${status}`
    if (performance.now() >= end) {
      throw new ServerError(
        `the server was not healthy after ${startLimit} s: GET ${healthy} was answered with ${found}`,
      )
    }
    const gone = await Promise.race([child.gone, delay(LOOK_MS)])
    if (gone) throw gone
  }
}

/** Whether a server is well, or was not at first but soon is, or stays unwell. */
async function healthOf(server: Dispatcher, path: string): Promise<'good' | 'better' | 'bad'> {
  const end = performance.now() + RECOVERY_MS
  for (let health: 'good' | 'better' = 'good'; performance.now() < end; health = 'better') {
    const status = await look(server, path)
    if (status !== undefined && status >= 200 && status <= 299) return health
    await delay(LOOK_MS)
  }
  return 'bad'
}

/** The status of its answer; undefined if there is none yet. @throws {PortTakenError} if another program would answer */
async function look(server: Dispatcher, path: string): Promise<number | undefined> {
  try {
    const signal = AbortSignal.timeout(ANSWER_MS)
    const { statusCode, body } = await server.request({ method: 'GET', path, signal })
    await body.dump()
    return statusCode
  } catch (error) {
    if (error instanceof PortTakenError) throw error
    return undefined
  }
}

async function throwIfGone(child: ContextProcess): Promise<void> {
  const gone = await Promise.race([child.gone, delay(NOTICE_MS)])
  if (gone) throw gone
}
