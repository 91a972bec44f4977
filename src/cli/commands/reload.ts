import type { Command } from 'commander'
import { printJson, type JsonOption } from '../json-output/print-json.ts'
import { clientFor } from '../options/common-options.ts'
import { reloadText } from '../views/reload-view.ts'

export function define(command: Command): void {
  command
    .description(
      'Has the running factory read its configuration again, and says what has changed. Sites change at once, for pilots submitted ' +
        'from now on; what takes a restart is named. If the file is not valid, the factory goes on by what it has.',
    )
    .option('--json', 'print it as JSON')
    .action(async ({ json }: JsonOption, command: Command) => {
      await using client = clientFor(command)
      const changes = await client.reload()
      if (json) return printJson('factory reload', changes)
      console.log(reloadText(changes))
    })
}
