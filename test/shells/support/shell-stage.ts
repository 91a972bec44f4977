import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Manager } from '../../../src/manager/manager.ts'
import { startWorker, type WorkerProcess } from '../../pilot/support/pilot-process.ts'
import { makeState, removeState, startOn } from '../../support/manager.ts'
import { until } from '../../support/until.ts'
import { attachArguments, type AttachedTerminal, attachedTerminal } from './attached-terminal.ts'

const BIN = fileURLToPath(new URL('../../../bin/factory.js', import.meta.url))

/** A manager whose only site allows shells, and the commands of its owner. */
export interface ShellStage extends AsyncDisposable {
  readonly state: string
  readonly manager: Manager & { token: string }
  /** Starts a pilot that allows shells, unless its environment says otherwise, and waits until it is there. */
  pilot(env?: Record<string, string>): Promise<{ name: string; worker: WorkerProcess }>
  /** Starts `factory exec`. */
  exec(pilot: string, ...command: string[]): ChildProcess
  /** Runs `factory exec` to its end, with this input. */
  run(pilot: string, command: string[], input?: Buffer): Promise<Executed>
  /** Starts `factory attach` in a terminal. */
  attach(pilot: string, ...command: string[]): AttachedTerminal
}

export interface Executed {
  code: number
  stdout: Buffer
  stderr: string
}

export async function shellStage(mayOpenShells = true): Promise<ShellStage> {
  const state = await makeState()
  const manager = await startOn(state, { mayOpenShells: () => mayOpenShells })
  await using opened = new AsyncDisposableStack()
  opened.defer(async () => {
    await manager.close()
    await removeState(state)
  })
  const disposables = opened.move()
  const env = { ...process.env, GLEANER_STATE: state }
  const exec = (pilot: string, ...command: string[]) =>
    spawn(process.execPath, [BIN, 'exec', pilot, '--', ...command], { env })
  return {
    state,
    manager,
    async pilot(settings = { GLEANER_SHELL: 'yes' }) {
      const [{ pilot: name, token }] = manager.registry.create('test', 1) as [
        { pilot: string; token: string },
      ]
      const worker = disposables.use(await startWorker({ url: manager.url, token }, settings))
      await until(() => manager.registry.list('test').some((each) => each.pilot === name && each.worker))
      return { name, worker }
    },
    exec,
    async run(pilot, command, input) {
      const child = exec(pilot, ...command)
      const stdout: Buffer[] = []
      let stderr = ''
      child.stdout.on('data', (bytes: Buffer) => stdout.push(bytes))
      child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
      child.stdin.on('error', () => {}).end(input)
      const [code] = (await once(child, 'close')) as [number | null]
      return { code: code ?? -1, stdout: Buffer.concat(stdout), stderr }
    },
    attach: (pilot, ...command) =>
      attachedTerminal([process.execPath, BIN, ...attachArguments(pilot, command)], env),
    [Symbol.asyncDispose]: () => disposables.disposeAsync(),
  }
}
