import type { Readable } from 'node:stream'
import { TransportError } from '../transport.ts'
import { ownScript } from './remote-script.ts'
import type { ScriptRunner } from './script-runner.ts'

/** Runs a script of ours on the submit node. `doing` says for the user what cannot be done if it fails. */
export type RunOwnScript = (
  script: string,
  signal: AbortSignal,
  doing: string,
  input?: Readable,
) => Promise<string>

/** @param host how the host is named for the user */
export function ownScripts(runner: ScriptRunner, host: string): RunOwnScript {
  return async (script, signal, doing, input) => {
    const { code, stdout, stderr } = await runner.run(ownScript(script, runner.mark), signal, input)
    if (code !== 0)
      throw new TransportError(`${host}: cannot ${doing}: ${stderr.trim() || `exit code ${code}`}`)
    return stdout
  }
}
