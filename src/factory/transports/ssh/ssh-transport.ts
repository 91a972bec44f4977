import { KEPT_VARIABLES } from '../command-environment.ts'
import type { Transport } from '../transport.ts'
import type { HostLink } from './host-link.ts'
import { commandScript } from './remote-script.ts'
import { scriptRunner } from './script-runner.ts'
import { sshFiles } from './ssh-files.ts'

export type SshTransportOptions = {
  link: HostLink
  /** How the host is named for the user. */
  host: string
  /** The state folder here, and the folder there, as the user writes it. */
  root: string
  folder: string
  factoryId: string
  /** Most bytes a second of a large file. Default: no limit. */
  bandwidth?: number | undefined
  /** Names of variables of the far end's, beyond the usual ones, that commands get. */
  kept?: readonly string[]
  /** Variables that commands get beside those. */
  set?: Readonly<Record<string, string>>
}

/** Runs commands on a submit node elsewhere, in an environment that holds what they need and no more. */
export function sshTransport({ kept = [], set = {}, ...options }: SshTransportOptions): Transport {
  const runner = scriptRunner(options.link, options.host)
  const environment = { kept: [...KEPT_VARIABLES, ...kept], set: { LC_ALL: 'C', ...set } }
  return {
    run: (command, { cwd, signal }) =>
      runner.run(
        commandScript({ command, ...(cwd !== undefined && { cwd }), ...environment, mark: runner.mark }),
        signal,
      ),
    files: sshFiles({ ...options, runner }),
  }
}
