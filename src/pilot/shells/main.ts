/*
 * The process of one shell: started by a worker with a socket as file descriptor 3, it runs what a user wants and speaks frames
 * (see protocol/channels/shell-frames.ts). It is a process of its own so that nothing in a terminal's native code, nor any amount of
 * output, is the worker's matter; and so that a shell ends with its worker, however that ends: the socket closes.
 */
import { Socket } from 'node:net'
import { SHELL_FD } from '../../protocol/channels/shell-frames.ts'
import { runShell } from './run-shell.ts'

// A batch system signals the whole process group. A shell lasts until its worker has left.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
delete process.env['NODE_COMPILE_CACHE']

await runShell(new Socket({ fd: SHELL_FD, readable: true, writable: true }), process.env, process.cwd())
process.exit(0)
