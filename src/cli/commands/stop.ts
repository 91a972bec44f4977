import type { Command } from 'commander'
import { clientFor, stateOf } from '../options/common-options.ts'
import { printJson, type JsonOption } from '../json-output/print-json.ts'
import { waitUntilStopped } from '../factory-process/wait-until-stopped.ts'

export function define(command: Command): void {
  command
    .description(
      'Stops the factory and removes its pilots. Tasks, results and contexts stay: "factory start" goes on with them.',
    )
    .option('--drain', 'let pilots finish all queued work first')
    .option('--json', 'print that it has stopped as JSON')
    .action(async ({ drain = false, json }: { drain?: boolean } & JsonOption, command: Command) => {
      const state = stateOf(command)
      await using client = clientFor(command, { patienceMs: 0 })
      await waitUntilStopped(state, () => client.stop({ drain }))
      if (json) return printJson('factory stop', { stopped: true })
      console.log('stopped')
    })
}
