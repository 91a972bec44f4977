import type { Command } from 'commander'
import { clientFor } from '../../options/common-options.ts'
import { workersTable } from '../../views/status-view.ts'

export function define(command: Command): void {
  command
    .description('Lists the workers: where they run, what they have in hand, and how they hold contexts.')
    .option('--site <site>', 'only those of this site')
    .option('--json', 'print them as JSON')
    .action(async ({ site, json }: { site?: string; json?: boolean }, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const { workers } = await client.status()
      const shown = workers.filter((worker) => site === undefined || worker.site === site)
      if (json) return console.log(JSON.stringify(shown, null, 2))
      console.log(shown.length === 0 ? 'no worker is there' : workersTable(shown))
    })
}
