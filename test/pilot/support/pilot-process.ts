import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { until } from '../../support/until.ts'

const program = fileURLToPath(new URL('../../../src/pilot/main.ts', import.meta.url))

/** A real worker, as pilot.sh boots it. */
export interface WorkerProcess extends AsyncDisposable {
  readonly pid: number
  /** Its own folder; `cache` and `scratch` are in it. */
  readonly folder: string
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  /** What it has written to its standard error. */
  log(): string
  kill(signal: NodeJS.Signals): void
  /** Process ids of its libraries. */
  libraries(): Promise<number[]>
}

/** @param prefix words put before its command, e.g. `ip netns exec NAME` */
export async function startWorker(
  manager: { url: string; token: string },
  env: Record<string, string> = {},
  prefix: string[] = [],
): Promise<WorkerProcess> {
  const folder = await mkdtemp(path.join(tmpdir(), 'gleaner-worker-'))
  await writeFile(path.join(folder, 'token'), manager.token, { mode: 0o600 })
  const [command, ...args] = [...prefix, process.execPath, program]
  const child = spawn(command, args, {
    env: {
      PATH: process.env['PATH'],
      GLEANER_MANAGER: manager.url,
      GLEANER_TOKEN_FILE: path.join(folder, 'token'),
      GLEANER_CACHE: path.join(folder, 'cache'),
      GLEANER_SCRATCH: path.join(folder, 'scratch'),
      GLEANER_STARTED: String(Date.now() / 1000),
      GLEANER_GRACE: '4',
      ...env,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let text = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
    if (process.env['TEST_LOG']) process.stderr.write(chunk)
  })
  const exited = whenGone(child)
  return {
    pid: child.pid!,
    folder,
    exited,
    log: () => text,
    kill: (signal) => void child.kill(signal),
    libraries: () => childrenOf(child.pid!),
    async [Symbol.asyncDispose]() {
      const libraries = await childrenOf(child.pid!)
      child.kill('SIGKILL')
      await exited
      await until(() => libraries.every((pid) => !isAlive(pid)))
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function whenGone(child: ChildProcess) {
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  return { code, signal }
}

/** Whether a process runs; one that only waits to be collected does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** Processes that a process has started. */
export async function childrenOf(parent: number): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const parents = await Promise.all(
    pids.map(async (pid) => {
      const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
      return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
    }),
  )
  return pids.filter((_, i) => parents[i] === parent).map(Number)
}
