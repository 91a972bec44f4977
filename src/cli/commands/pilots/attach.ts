import type { Command } from 'commander'
import { InputError } from '../../../client/errors.ts'
import { clientFor } from '../../options/common-options.ts'
import { findPilot } from '../../options/pilot-names.ts'
import { exitCodeOf, runInTerminal } from '../../shell/shell-terminal.ts'

export function define(command: Command): void {
  command
    .description(
      'Opens a terminal inside a pilot, on its compute node, where the site allows it (shell: true); with a command, runs that in ' +
        'it. Exits as what ran there did. Enter, "~", "." leaves a terminal that does not answer. What runs in it ends with it.',
    )
    .argument('<pilot>', 'a pilot, or the worker in it, such as p3 or w3')
    .argument('[command...]', 'what to run, after "--"; default: your login shell')
    .action(async (wanted: string, words: string[], _options: object, command: Command) => {
      if (!process.stdin.isTTY || !process.stdout.isTTY)
        throw new InputError('this is no terminal: "factory exec" runs a command without one')
      await using client = clientFor(command, { patienceMs: 0 })
      const pilot = await findPilot(client, wanted)
      const end = await runInTerminal(client, pilot, words.length > 0 ? words : undefined)
      process.exitCode = exitCodeOf(end)
    })
}
