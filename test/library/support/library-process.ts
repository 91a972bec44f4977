import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { type JsonLinesChannel, openJsonLinesChannel } from '../../../src/common/json-lines-channel.ts'
import type { Setup } from '../../../src/library/runtime/library-kind.ts'
import type { JsonValue } from '../../../src/protocol/primitives.ts'
import { FromLibrary, LIBRARY_FD, type ToLibrary } from '../../../src/protocol/library.ts'

export const libraryProgram = fileURLToPath(new URL('../../../src/library/main.ts', import.meta.url))

type Ended = Extract<FromLibrary, { type: 'ended' }>['calls'][number]

/** A real library process, and the worker's end of its socket. */
export interface TestLibrary extends AsyncDisposable {
  child: ChildProcess
  channel: JsonLinesChannel<FromLibrary, ToLibrary>
  /** The socket below the channel. */
  socket: Duplex
  /** The next message of a type, others before it left out. Fails if the library goes first. */
  next<T extends FromLibrary['type']>(type: T): Promise<Extract<FromLibrary, { type: T }>>
  /** Sends calls, numbered from `firstId`, and waits for all of them to end. */
  call(name: string, inputs: readonly JsonValue[], firstId?: number): Promise<Ended[]>
  /** Closes the stream, unless the library has ended by itself, and tells how it went. */
  end(): Promise<{ code: number | null; signal: string | null; stdout: string; stderr: string }>
}

/** Starts a library process; with `setup`, also has it load that. */
export async function startLibrary(setup?: Setup): Promise<TestLibrary> {
  const child = spawn(process.execPath, [libraryProgram], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    // As a worker starts it: what the library starts is of its group, and ends with that.
    detached: true,
  })
  const exited = once(child, 'exit') as Promise<[number | null, string | null]>
  const output = Promise.all([text(child.stdout!), text(child.stderr!)])
  const socket = child.stdio[LIBRARY_FD] as Duplex
  const channel = openJsonLinesChannel<FromLibrary, ToLibrary>(socket, FromLibrary)
  const messages = channel.messages[Symbol.asyncIterator]()

  const library: TestLibrary = {
    child,
    channel,
    socket,
    async next<T extends FromLibrary['type']>(type: T) {
      for (;;) {
        const message = await messages.next()
        if (message.done) throw new Error(`the library has gone without a word of type ${type}`)
        if (message.value.type === type) return message.value as Extract<FromLibrary, { type: T }>
      }
    },
    async call(name, inputs, firstId = 1) {
      await channel.send({
        type: 'call',
        function: name,
        calls: inputs.map((input, i) => ({ id: firstId + i, input })),
      })
      const ended: Ended[] = []
      while (ended.length < inputs.length) ended.push(...(await library.next('ended')).calls)
      return ended
    },
    async end() {
      channel.close()
      const [code, signal] = await exited
      const [stdout, stderr] = await output
      return { code, signal, stdout, stderr }
    },
    async [Symbol.asyncDispose]() {
      killGroup(child)
      await exited
      socket.destroy()
    },
  }
  if (setup) await channel.send(setup)
  return library
}

/** Kills a process and all that it started. */
function killGroup({ pid }: ChildProcess): void {
  try {
    process.kill(-pid!, 'SIGKILL')
  } catch (error) {
    // All of them have ended.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
