/*
 * The library process: started by a worker with a socket as file descriptor 3, it holds one context and answers calls.
 */
import { Socket } from 'node:net'
import { inspect } from 'node:util'
import { LIBRARY_FD, ToLibrary, type FromLibrary } from '../protocol/library.ts'
import { openJsonLines } from '../common/json-lines.ts'
import { ContextProcessGone } from './runtime/context-process.ts'
import { loadContext } from './kinds/load-context.ts'
import { watchOutput } from './runtime/captured-output.ts'
import { serve } from './runtime/serve-calls.ts'

function die(message: string): never {
  process.stderr.write(`library: ${message}\n`)
  process.exit(1)
}

/**
 * Ends as a process that held the context has: what has become of the one has become of the other. After a signal to
 * everyone it is the signal that ended both, however orderly.
 */
function endLike(gone: ContextProcessGone): never {
  process.stderr.write(`library: ${gone.message}\n`)
  const signal = gone.signal ?? warned
  if (signal) {
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
  }
  process.exit(gone.code ?? 1)
}

function openSocket(): Socket {
  try {
    return new Socket({ fd: LIBRARY_FD, readable: true, writable: true })
  } catch {
    die(`there is no socket at file descriptor ${LIBRARY_FD}: a worker starts this program, not a user`)
  }
}

// A batch system signals the whole process group. The worker decides what is still finished; when it has left, the
// stream ends, and so does this process.
let warned: NodeJS.Signals | undefined
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => (warned = signal))

process.on('uncaughtException', (error) => {
  die(`an error outside of any call ended the library; catch it where it arises: ${inspect(error)}`)
})

// What user code starts need not fill the node's cache of compiled programs.
delete process.env['NODE_COMPILE_CACHE']
watchOutput()
const channel = openJsonLines<ToLibrary, FromLibrary>(openSocket(), ToLibrary)
const status = await serve(channel, loadContext).catch((error: unknown) =>
  error instanceof ContextProcessGone ? endLike(error) : die(inspect(error)),
)
process.exit(status)
