import { access, constants } from 'node:fs/promises'
import os from 'node:os'
import type { Duplex } from 'node:stream'
import { openShellConnection } from '../../common/shells/shell-connection.ts'
import { explain, parseJson } from '../../protocol/primitives.ts'
import { frame } from '../../protocol/channels/frames.ts'
import {
  byteFrames,
  failedFrame,
  INPUT_WINDOW,
  ShellFrame,
  type ShellMessage,
  ShellRequest,
} from '../../protocol/channels/shell-frames.ts'
import { startWithPipes } from './piped-program.ts'
import type { Program, ProgramOptions } from './shell-program.ts'
import { startInTerminal } from './terminal-program.ts'

/** Longest wait for what is wanted to be said, milliseconds. */
const OPEN_MS = 20_000

/** Runs what is asked for over a channel until it has ended, or the channel has: then it is ended, and all that it started. */
export async function runShell(socket: Duplex, env: NodeJS.ProcessEnv, folder: string): Promise<void> {
  const over = Promise.withResolvers<void>()
  let state: 'waiting' | 'starting' | 'running' | 'over' = 'waiting'
  let program: Program | undefined
  /** What came while the program was being started. */
  const early: ShellMessage[] = []
  let untaken = 0

  const finish = (last?: Buffer) => {
    state = 'over'
    clearTimeout(openTimer)
    connection.end(last)
  }
  const open = async (request: ShellRequest): Promise<void> => {
    state = 'starting'
    try {
      program = await start(request, {
        env,
        folder,
        onOutput(bytes, stream) {
          const kind = stream === 'output' ? ShellFrame.OUTPUT : ShellFrame.ERROR
          let isReady = true
          for (const part of byteFrames(kind, bytes)) isReady = connection.send(part)
          if (!isReady) program?.pause()
        },
        onExit: (code, signal) => finish(frame(ShellFrame.EXIT, code & 0xff, signal)),
      })
    } catch (error) {
      return finish(failedFrame((error as Error).message))
    }
    // Already over, it has said so.
    if ((state as string) === 'over') return
    state = 'running'
    connection.send(frame(ShellFrame.OPENED))
    for (const message of early) act(program, message)
  }
  const act = (running: Program, { kind, first, second, body }: ShellMessage): void => {
    if (kind === ShellFrame.INPUT) {
      running.write(body, () => {
        untaken -= body.length
        connection.send(frame(ShellFrame.TAKEN, body.length))
      })
    } else if (kind === ShellFrame.INPUT_END) running.endInput()
    else if (kind === ShellFrame.RESIZE) running.resize(first, second)
    else if (kind === ShellFrame.SIGNAL) running.signal(first)
  }

  const connection = openShellConnection(socket, {
    from: 'user',
    onFrame(message) {
      if (state === 'over') return
      if (state === 'waiting') {
        clearTimeout(openTimer)
        if (message.kind !== ShellFrame.OPEN) throw new Error('it does not begin with what is wanted')
        const request = ShellRequest.safeParse(parseJson(message.body.toString()))
        if (!request.success) return finish(failedFrame(explain(request.error)))
        return void open(request.data)
      }
      if (message.kind === ShellFrame.OPEN) throw new Error('it says twice what is wanted')
      untaken += message.body.length
      if (untaken > INPUT_WINDOW) throw new Error('it sends more input than is taken')
      if (state === 'running') act(program!, message)
      // Few and small: their bytes are counted, and so are they.
      else if (early.push(message) > EARLY_MOST) throw new Error('it sends too much before the start')
    },
    onDrain: () => program?.resume(),
    onClosed() {
      state = 'over'
      over.resolve()
    },
  })
  const openTimer = setTimeout(() => finish(failedFrame('nothing was said of what is wanted')), OPEN_MS)
  await over.promise
  clearTimeout(openTimer)
  await program?.end()
}

/** Frames that may come before the program has started: a paste, and some changes of size. */
const EARLY_MOST = 10_000

type Where = Pick<ProgramOptions, 'env' | 'folder' | 'onOutput' | 'onExit'>

async function start({ command, terminal, input }: ShellRequest, where: Where): Promise<Program> {
  const [file, ...args] = command ?? [await loginShell(where.env)]
  const options = { ...where, file: file!, args }
  if (!terminal) {
    return await startWithPipes(options, input).catch((error: NodeJS.ErrnoException) => {
      throw new Error(notStarted(file!, error), { cause: error })
    })
  }
  const found = await findProgram(file!, where.env)
  return await startInTerminal({ ...options, file: found }, terminal).catch((error: unknown) => {
    const { message } = error as Error
    throw new Error(
      `this node cannot give a terminal: ${message.split('\n')[0]}; "factory exec" needs none`,
      { cause: error },
    )
  })
}

function notStarted(file: string, { code, message }: NodeJS.ErrnoException): string {
  if (code === 'ENOENT') return `there is no program ${file} on this node`
  if (code === 'EACCES') return `${file} may not be run on this node`
  return `${file} cannot be started: ${message}`
}

/** The path of a program: in a terminal, one that is not there would be told from one that failed only by its code. */
async function findProgram(file: string, env: NodeJS.ProcessEnv): Promise<string> {
  const folders = file.includes('/')
    ? ['']
    : (env['PATH'] ?? '/usr/bin:/bin').split(':').map((folder) => `${folder || '.'}/`)
  for (const folder of folders) {
    try {
      await access(folder + file, constants.X_OK)
      return folder + file
    } catch {
      // Not there.
    }
  }
  throw new Error(`there is no program ${file} on this node`)
}

async function loginShell(env: NodeJS.ProcessEnv): Promise<string> {
  for (const shell of [env['SHELL'], userShell(), '/bin/bash', '/bin/sh']) {
    if (
      shell &&
      (await access(shell, constants.X_OK).then(
        () => true,
        () => false,
      ))
    )
      return shell
  }
  throw new Error('there is no shell on this node')
}

/** A user whom the node does not know has none. */
function userShell(): string | null {
  try {
    return os.userInfo().shell
  } catch {
    return null
  }
}
