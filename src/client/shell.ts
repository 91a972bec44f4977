import os from 'node:os'
import { openShellConnection } from '../common/shells/shell-connection.ts'
import { frame } from '../protocol/channels/frames.ts'
import {
  byteFrames,
  INPUT_WINDOW,
  SHELL,
  SHELL_BYTES,
  ShellFrame,
  type ShellRequest,
} from '../protocol/channels/shell-frames.ts'
import { InputError, ShellError } from './errors.ts'
import { userRoutes } from '../protocol/routes/user-routes.ts'
import type { CallOptions, HttpClient } from './http-client.ts'

/** How a command ended: by its exit code, or by a signal's number, which is 0 otherwise. */
export interface ShellEnd {
  code: number
  signal: number
}

export interface ShellOptions extends CallOptions {
  /** A program and its arguments. Default: the user's login shell. */
  command?: string[]
  /** Runs it in a terminal of this size, of the kind that `TERM` names. */
  terminal?: { columns: number; rows: number; type: string }
  /** Whether it gets input. Always, in a terminal. */
  input?: boolean
  /** Takes what it writes; `error` is its standard error, which a terminal does not tell apart. False: no more until `resume`. */
  onOutput: (bytes: Buffer, stream: 'output' | 'error') => boolean
  /** It wants more input after `write` returned false. */
  onDrain?: () => void
}

/** A command or a terminal that runs in a pilot. */
export interface Shell {
  /** How it ended. Rejects with {@link ShellError} if it cannot run, or was cut off. */
  ended: Promise<ShellEnd>
  /** Gives it input; false when it has enough for now: give no more before `onDrain`. */
  write(bytes: Buffer): boolean
  /** There is no more input. */
  endInput(): void
  resize(columns: number, rows: number): void
  /** Sends it a signal by its number; in a terminal, Ctrl-C is a byte of input. */
  signal(number: number): void
  /** Takes output again. */
  resume(): void
  /** Ends it, and what it has started. */
  close(): void
}

/** Opens a shell in a pilot. */
export async function openShell(transport: HttpClient, pilot: string, options: ShellOptions): Promise<Shell> {
  if (!/^p\d{1,15}$/.test(pilot))
    throw new InputError(`${pilot} is no pilot: they are called p1, p2 and so on`)
  const request = requestOf(options)
  const opening = Buffer.from(JSON.stringify(request))
  if (opening.length > SHELL_BYTES) throw new InputError(`the command is longer than ${SHELL_BYTES} bytes`)
  const socket = await transport.upgrade(userRoutes.openShell, { params: { pilot } }, SHELL, options)
  const { promise: ended, resolve, reject } = Promise.withResolvers<ShellEnd>()
  /** Input that the window has no room for yet. */
  let waiting: Buffer[] = []
  let isEnding = false
  let window = INPUT_WINDOW

  const connection = openShellConnection(socket, {
    from: 'pilot',
    onFrame({ kind, first, second, body }) {
      if (kind === ShellFrame.OUTPUT || kind === ShellFrame.ERROR) {
        if (!options.onOutput(body, kind === ShellFrame.OUTPUT ? 'output' : 'error')) connection.pause()
      } else if (kind === ShellFrame.TAKEN) {
        window += first
        if (window > INPUT_WINDOW) throw new Error('it takes more than it was given')
        sendInput()
        if (waiting.length === 0) options.onDrain?.()
      } else if (kind === ShellFrame.EXIT) {
        resolve({ code: first, signal: second })
        connection.end()
      } else if (kind === ShellFrame.FAILED) {
        reject(new ShellError(body.toString()))
        connection.end()
      }
    },
    onDrain() {},
    onClosed: (why) => reject(new ShellError(`the shell was cut off: ${why}`)),
  })
  const sendInput = () => {
    while (waiting.length > 0 && window > 0) {
      const [bytes] = waiting as [Buffer]
      const part = bytes.subarray(0, window)
      for (const input of byteFrames(ShellFrame.INPUT, part)) connection.send(input)
      window -= part.length
      if (part.length < bytes.length) waiting[0] = bytes.subarray(part.length)
      else waiting.shift()
    }
    if (waiting.length === 0 && isEnding) {
      isEnding = false
      connection.send(frame(ShellFrame.INPUT_END))
    }
  }

  connection.send(frame(ShellFrame.OPEN, 0, opening.length, opening))
  options.signal?.addEventListener('abort', () => connection.destroy(), { once: true })
  return {
    ended,
    write(bytes) {
      if (bytes.length > 0) waiting.push(bytes)
      sendInput()
      return waiting.length === 0
    },
    endInput() {
      isEnding = true
      sendInput()
    },
    resize: (columns, rows) => void connection.send(frame(ShellFrame.RESIZE, columns, rows)),
    signal: (number) => void connection.send(frame(ShellFrame.SIGNAL, number)),
    resume: () => connection.resume(),
    close() {
      waiting = []
      connection.destroy()
    },
  }
}

function requestOf({ command, terminal, input = false }: ShellOptions): ShellRequest {
  return {
    ...(command && { command }),
    ...(terminal && { terminal }),
    input: input || terminal !== undefined,
    user: whoAsks(),
  }
}

/** Who asks, as this machine says. */
function whoAsks(): string {
  return `${userName()}@${os.hostname()}`.replace(/\p{Cc}/gu, '').slice(0, 200)
}

/** In some containers a user is a number without a name. */
function userName(): string {
  try {
    return os.userInfo().username
  } catch {
    return `user ${process.getuid?.()}`
  }
}
