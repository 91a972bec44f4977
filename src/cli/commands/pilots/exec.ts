import type { Command } from 'commander'
import { clientFor } from '../../options/common-options.ts'
import { findPilot } from '../../options/pilot-names.ts'
import { exitCodeOf, runCommand } from '../../shell/shell-terminal.ts'

export function define(command: Command): void {
  command
    .description(
      'Runs one command inside a pilot, on its compute node, where the site allows it (shell: true): "factory exec p3 -- nvidia-smi". ' +
        'Its standard output and error are kept apart, what is piped in is its input, and its exit code is passed on; 255 says that ' +
        'it could not be run, or was cut off.',
    )
    .argument('<pilot>', 'a pilot, or the worker in it, such as p3 or w3')
    .argument('<command...>', 'the command, after "--"')
    .action(async (wanted: string, words: string[], _options: object, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      process.exitCode = exitCodeOf(await runCommand(client, await findPilot(client, wanted), words))
    })
}
