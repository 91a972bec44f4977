import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { ManagerOptions } from '../../src/manager/manager.ts'
import type { Memory } from './memory.ts'

const CHILD = fileURLToPath(new URL('manager-child.ts', import.meta.url))

/** Make so many pilots, or say how much memory is used. */
export type ToManager = { pilots: number } | 'memory'

export type FromManager =
  | ({ type: 'ready' } & Reached)
  | { type: 'pilots'; pilots: { pilot: string; token: string }[] }
  | ({ type: 'memory' } & Memory)

/** How a manager is reached. */
export interface Reached {
  url: string
  token: string
  caFile?: string
}

export type ManagerProcessOptions = Partial<
  Pick<ManagerOptions, 'listen' | 'advertise' | 'scheduler' | 'leaseTargetMs' | 'idleMs'>
> & {
  /** It also has the OpenAI API and the dashboard, as a factory has. */
  all?: boolean
}

/** A real manager on a state folder, in a process that can be killed, stopped and started again. */
export class ManagerProcess implements AsyncDisposable {
  readonly folder: string
  readonly #options: ManagerProcessOptions
  /** Put before the command, e.g. `ip netns exec NAME`. */
  readonly #prefix: string[]
  #child: ChildProcess | undefined
  #reached: Promise<Reached> | undefined

  constructor(folder: string, options: ManagerProcessOptions = {}, prefix: string[] = []) {
    this.folder = folder
    this.#options = options
    this.#prefix = prefix
  }

  /** Starts the process; {@link ready} says when it listens. */
  start(): void {
    const argv = [...this.#prefix, process.execPath, ...process.execArgv]
    const [command, ...execArgv] = argv as [string, ...string[]]
    const child = fork(CHILD, [this.folder, JSON.stringify(this.#options)], {
      execPath: command,
      execArgv,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    this.#child = child
    this.#reached = this.#hear('ready').then(({ url, token, caFile }) => {
      return { url, token, ...(caFile === undefined ? {} : { caFile }) }
    })
    // A test that kills it before it is ready does not ask for this.
    this.#reached.catch(() => {})
  }

  /** @throws if it ended before it listened */
  ready(): Promise<Reached> {
    return this.#reached ?? Promise.reject(new Error('not started'))
  }

  get pid(): number {
    return this.#child!.pid!
  }

  /** Makes pilots, each with a one-time token. */
  async pilots(count: number): Promise<{ pilot: string; token: string }[]> {
    const made = this.#hear('pilots')
    this.#child!.send({ pilots: count } satisfies ToManager)
    return (await made).pilots
  }

  /** What the process has in memory after its garbage has been collected. */
  async memory(): Promise<Memory> {
    const measured = this.#hear('memory')
    this.#child!.send('memory' satisfies ToManager)
    return measured
  }

  async #hear<T extends FromManager['type']>(type: T): Promise<Extract<FromManager, { type: T }>> {
    const child = this.#child!
    const ended = new AbortController()
    const onExit = (code: number | null, signal: string | null) =>
      ended.abort(new Error(`the manager ended (${signal ?? code})`))
    child.once('exit', onExit)
    try {
      for (;;) {
        const [message] = (await once(child, 'message', { signal: ended.signal })) as [FromManager]
        if (message.type === type) return message as Extract<FromManager, { type: T }>
      }
    } catch (error) {
      throw ended.signal.aborted ? ended.signal.reason : error
    } finally {
      child.off('exit', onExit)
    }
  }

  /** Sends a signal; with one that ends the process, waits for its end. */
  async kill(signal: 'SIGKILL' | 'SIGTERM' | 'SIGSTOP' | 'SIGCONT' = 'SIGKILL'): Promise<void> {
    const child = this.#child!
    if (child.exitCode !== null || child.signalCode !== null) return
    const ending = signal === 'SIGKILL' || signal === 'SIGTERM'
    const exit = ending ? once(child, 'exit') : undefined
    child.kill(signal)
    await exit
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child) await this.kill('SIGKILL')
  }
}
