import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type Dispatcher, Pool } from 'undici'
import { limits } from '../../protocol/common.ts'
import type { LibrarySpec, ServerFunction } from '../../protocol/context.ts'
import { type Child, startChild } from '../child.ts'
import {
  bundleFolder,
  type Call,
  type CallOutcome,
  type LoadedContext,
  type RunFunction,
  type Setup,
} from '../kind.ts'
import { logOf, print, type Printed } from '../output.ts'
import { ask, ConnectionError, ServerError } from './ask.ts'
import { renderText } from './render.ts'

type ServerSpec = Extract<LibrarySpec, { library: 'server' }>

const ADVICE = "load its module in the site's `setup`, or name its file in a bundle"
/** Time between looks at whether it is healthy, and the time one look may take, milliseconds. */
const LOOK_MS = 100
const ANSWER_MS = 5_000
/** How long the end of a server may take to be noticed after its connections broke, milliseconds. */
const NOTICE_MS = 1_000
/** What a server writes about a call that fails may be read this much later than its answer, milliseconds. */
const WORDS_MS = 100

/**
 * Loads a context that is a server: starts its command, and waits until it is healthy. Calls are requests to it, several at
 * once.
 *
 * @throws {ServerError} if it is not healthy in time, ChildGone if it ends before; `stack` is the last it has written
 */
export async function loadServer(setup: Setup, spec: ServerSpec): Promise<LoadedContext> {
  const { command, concurrency } = spec.setup
  const port = await freePort()
  const [program, ...args] = command.map((word) =>
    renderText(word, (path) => placeholder(path, setup, port), 'the command'),
  )
  const child = startChild(program!, args, { stdio: ['ignore', 'pipe', 'pipe'] }, ADVICE)
  const printed = keepOutput(child)
  const server = new Pool(`http://127.0.0.1:${port}`, {
    connections: concurrency,
    maxResponseSize: limits.value,
    // How long a call may take is its worker's business.
    headersTimeout: 0,
    bodyTimeout: 0,
  })
  const close = async () => {
    await child.stop(() => child.process.kill('SIGTERM'))
    await server.destroy()
  }
  try {
    await untilHealthy(server, child, spec.setup)
  } catch (error) {
    await close()
    throw Object.assign(error as Error, { stack: logOf(printed).log ?? '' })
  }

  const outcomeOf = async ({ input }: Call, how: ServerFunction): Promise<CallOutcome> => {
    try {
      return { value: await ask(server, how, input) }
    } catch (error) {
      if (error instanceof ConnectionError) await throwIfGone(child)
      await delay(WORDS_MS)
      return { error, ...logOf(printed) }
    }
  }
  const toRunFunction = (how: ServerFunction): RunFunction => {
    return async (window, desk) => {
      for (const call of window) {
        for (const begun of await desk.begin([call])) desk.end(begun, await outcomeOf(begun, how))
      }
    }
  }
  return {
    level: setup.device === 'cpu' ? 'memory' : 'device',
    functions: new Map(Object.entries(spec.functions).map(([name, how]) => [name, toRunFunction(how)])),
    lanes: concurrency,
    lost: child.gone,
    close,
  }
}

function placeholder(path: string, setup: Setup, port: number): string | undefined {
  if (path === 'port') return String(port)
  if (path === 'threads') return String(setup.threads)
  return bundleFolder(setup, path.replace(/^bundles\./, ''))
}

/** A port that was free a moment ago: should somebody take it first, the server ends and is started again. */
async function freePort(): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  listener.close()
  await once(listener, 'close')
  return port
}

/** Passes on what the server writes, and keeps the end of it. */
function keepOutput({ process: child }: Child): Printed {
  const printed: Printed = {}
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]!.setEncoding('utf8').on('data', (text: string) => {
      print(printed, text)
      process[name].write(text)
    })
  }
  return printed
}

/** @throws {ServerError} when it is not healthy in time, ChildGone when it has ended */
async function untilHealthy(
  server: Dispatcher,
  child: Child,
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

/** The status of its answer; undefined if there is none yet. */
async function look(server: Dispatcher, path: string): Promise<number | undefined> {
  try {
    const signal = AbortSignal.timeout(ANSWER_MS)
    const { statusCode, body } = await server.request({ method: 'GET', path, signal })
    await body.dump()
    return statusCode
  } catch {
    return undefined
  }
}

async function throwIfGone(child: Child): Promise<void> {
  const gone = await Promise.race([child.gone, delay(NOTICE_MS)])
  if (gone) throw gone
}
