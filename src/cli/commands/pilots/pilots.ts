import type { Command } from 'commander'
import { clientFor } from '../../options/common-options.ts'
import { printJson, type JsonOption } from '../../json-output/print-json.ts'
import { pilotsTable } from '../../views/pilots-view.ts'

export function define(command: Command): void {
  command
    .description(
      'Lists the pilots that have not ended: their jobs, where they wait or run and why they wait, and the worker each runs.',
    )
    .option('--site <site>', 'only those of this site')
    .option('--json', 'print them as JSON')
    .action(async ({ site, json }: { site?: string } & JsonOption, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const { pilots, now } = await client.pilots()
      const shown = pilots.filter((pilot) => site === undefined || pilot.site === site)
      if (json) return printJson('factory pilots', shown)
      console.log(shown.length === 0 ? 'no pilot is there' : pilotsTable(shown, now))
    })
}
