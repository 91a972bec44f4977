import type { Command } from 'commander'
import { clientFor } from '../options.ts'
import { reloadText } from '../views/reload-view.ts'

export function define(command: Command): void {
  command
    .description(
      'Has the running factory read its configuration again, and says what has changed. Sites change at once, for pilots submitted ' +
        'from now on; what takes a restart is named. If the file is not valid, the factory goes on by what it has.',
    )
    .action(async (_options: object, command: Command) => {
      await using client = clientFor(command)
      console.log(reloadText(await client.reload()))
    })
}
