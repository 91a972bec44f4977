import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { findProgram } from '../../common/processes/find-program.ts'
import { openJsonLinesChannel, chunkTexts } from '../../common/json-lines-channel.ts'
import { limits } from '../../protocol/primitives.ts'
import { FromLibrary, LIBRARY_FD, type ToLibrary } from '../../protocol/library.ts'
import { passesTraces } from '../../protocol/contexts/library-traits.ts'
import { taskTraceparent } from '../../protocol/trace-context.ts'
import type { DeviceMemory } from '../gpus/device-memory.ts'
import type { InFlightCall } from '../tasks/in-flight-calls.ts'
import { deviceMemoryOf, memoryOf } from './process-memory.ts'
import type { Usage } from '../policy/library-eviction.ts'
import { publicEnvironment } from '../policy/public-environment.ts'

/** The library's program: bundled beside this one, as source, or compiled. */
const PROGRAM = ['./library.js', '../../library/main.ts', '../../library/main.js']

/** What a library's process is started with. */
export interface ProcessOptions {
  /** Variables that tell it of its slot's devices. */
  env: Readonly<Record<string, string>>
  /** Its working and temporary folder. */
  folder: string
  /** Memory after which it should be restarted, bytes. */
  memoryLimit: number
}

export interface LibraryOptions extends ProcessOptions {
  /** The first message. */
  setup: Extract<ToLibrary, { type: 'setup' }>
  /** May have a process that was started with the same options before. */
  prestarted?: { take(): ChildProcess | undefined } | undefined
  /** What the node's GPUs are used for. */
  devices: () => Promise<DeviceMemory>
  log: Logger
}

/** How a library's process ended. */
export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
  /** Set if it could not be started at all. */
  error?: Error
  /** The end of what it wrote to its standard error. */
  stderr: string
  /** The end of all it wrote. */
  output: string
}

/** A running library. The shell around one process, with no decisions of its own. */
export interface LibraryProcess extends AsyncDisposable {
  /**
   * What it says, until it closes the connection. May be iterated once.
   *
   * @throws JsonLinesError if it breaks the protocol
   */
  messages: AsyncIterable<FromLibrary>
  /** Resolves once the process is gone. */
  exited: Promise<Exit>
  call(name: string, calls: readonly InFlightCall[]): void
  cancel(ids: number[]): void
  /** Asks it to end; see `exited`. What it does not do by itself in time is done to it. */
  close(): void
  /** Ends it and all it started, at once. */
  kill(): void
  /** Memory that it and what it started have for themselves; 0 where the system does not tell. */
  usage(): Promise<Usage>
}

/** Time a library has to end by itself, milliseconds. */
const CLOSING_MS = 2_000
const STDERR_TAIL = 8 << 10
/** What of a library's output goes to the pilot's log: enough to debug a setup, never enough to fill a disk. */
const LOGGED_LINES = 1_000
const LOGGED_LENGTH = 1_000

/** A module bundle needs no package.json: that its files are ES modules is found out from what is in them. */
const QUIET = ['--disable-warning=MODULE_TYPELESS_PACKAGE_JSON']

/** Starts the process of a library, which waits for its setup. It ends when this process does. */
export function spawnLibrary({ env, folder, memoryLimit }: ProcessOptions): ChildProcess {
  const heapMb = Math.ceil(memoryLimit / 2 ** 20)
  // A process group of its own, so that what user code starts can be ended with it.
  const program = findProgram("the library's program", import.meta.url, PROGRAM)
  return spawn(process.execPath, [`--max-old-space-size=${heapMb}`, ...QUIET, program], {
    cwd: folder,
    env: { ...publicEnvironment(process.env).shown, ...env, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    detached: true,
  })
}

/** Starts a library: its process, unless there is one already, and its setup. */
export function startLibrary(options: LibraryOptions): LibraryProcess {
  const { setup, prestarted, memoryLimit, devices, log } = options
  const child = prestarted?.take() ?? spawnLibrary(options)
  const channel = openJsonLinesChannel<FromLibrary, ToLibrary>(child.stdio[LIBRARY_FD] as Duplex, FromLibrary)
  const written = watchOutput(child, log.child({ library: child.pid }))
  const exited = whenGone(child).then((end) => ({ ...end, ...written() }))
  const isTraced = passesTraces(setup.context.spec)
  const kill = () => killGroup(child)
  const close = () => {
    channel.close()
    const timer = setTimeout(kill, CLOSING_MS)
    void exited.then(() => clearTimeout(timer))
  }
  void channel.send(setup)
  return {
    messages: channel.messages,
    exited,
    call(name, calls) {
      const texts = calls.map(({ id, task: { task, input, traceparent } }) =>
        JSON.stringify({ id, input, ...(isTraced && { traceparent: taskTraceparent(traceparent, task) }) }),
      )
      for (const stretch of chunkTexts(texts)) {
        const head = `{"type":"call","function":${JSON.stringify(name)},"calls":[`
        void channel.sendJson(head + stretch.join(',') + ']}')
      }
    },
    cancel: (ids) => void channel.send({ type: 'cancel', ids }),
    close,
    kill,
    usage: async () => ({
      memory: await memoryOf(child.pid, memoryLimit),
      device: await deviceMemoryOf(child.pid, await devices()),
    }),
    async [Symbol.asyncDispose]() {
      close()
      await exited
    },
  }
}

/** Resolves when the process has ended and what it wrote has been read. */
async function whenGone(child: ChildProcess): Promise<Omit<Exit, keyof Written>> {
  const closed = once(child, 'close')
  try {
    await once(child, 'exit')
  } catch (error) {
    return { code: null, signal: null, error: error as Error }
  }
  // What it had started goes with it, or would hold its output open.
  killGroup(child)
  await Promise.race([closed, delay(CLOSING_MS, undefined, { ref: false })])
  return { code: child.exitCode, signal: child.signalCode }
}

/** Kills a library's process and all that it has started. */
export function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Gone already.
  }
}

type Written = Pick<Exit, 'stderr' | 'output'>

/** Copies a process's output to the log; returns how to get the end of it. */
function watchOutput(child: ChildProcess, log: Logger): () => Written {
  let stderr = ''
  let output = ''
  let left = LOGGED_LINES
  for (const stream of ['stdout', 'stderr'] as const) {
    let rest = ''
    child[stream]?.setEncoding('utf8').on('data', (text: string) => {
      if (stream === 'stderr') stderr = (stderr + text).slice(-STDERR_TAIL)
      output = (output + text).slice(-limits.log)
      const lines = (rest + text).split('\n')
      rest = lines.pop()!.slice(0, LOGGED_LENGTH)
      for (const line of lines.slice(0, left)) log.info({ stream }, line.slice(0, LOGGED_LENGTH))
      if (left > 0 && lines.length >= left) log.warn('what it writes from here on is not logged')
      left = Math.max(0, left - lines.length)
    })
  }
  return () => ({ stderr, output: output.toWellFormed() })
}
