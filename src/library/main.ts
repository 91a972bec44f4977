/*
 * The library process: started by a worker with a socket as file descriptor 3, it holds one context and answers calls.
 * Its threads, where it has any, run the same program: each holds the context by itself.
 */
import { Socket } from 'node:net'
import { inspect } from 'node:util'
import { isMainThread } from 'node:worker_threads'
import { LIBRARY_FD, ToLibrary, type FromLibrary } from '../protocol/library.ts'
import { openJsonLinesChannel } from '../common/json-lines-channel.ts'
import { ContextProcessGone } from './runtime/context-process.ts'
import { loadContext } from './kinds/load-context.ts'
import { watchOutput } from './runtime/captured-output.ts'
import { serve } from './runtime/serve-calls.ts'
import { serveThread } from './runtime/threads/context-thread.ts'

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

let warned: NodeJS.Signals | undefined

async function serveWorker(): Promise<never> {
  // A batch system signals the whole process group. The worker decides what is still finished; when it has left, the
  // stream ends, and so does this process.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => (warned = signal))
  process.on('uncaughtException', (error) => {
    die(`an error outside of any call ended the library; catch it where it arises: ${inspect(error)}`)
  })
  watchOutput()
  const channel = openJsonLinesChannel<ToLibrary, FromLibrary>(openSocket(), ToLibrary)
  const status = await serve(channel, loadContext).catch((error: unknown) =>
    error instanceof ContextProcessGone ? endLike(error) : die(inspect(error)),
  )
  process.exit(status)
}

// What user code starts need not fill the node's cache of compiled programs.
delete process.env['NODE_COMPILE_CACHE']
if (isMainThread) await serveWorker()
else await serveThread(loadContext)
