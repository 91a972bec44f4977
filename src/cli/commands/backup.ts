import { resolve } from 'node:path'
import type { Command } from 'commander'
import { size } from '../format.ts'
import { clientFor } from '../options.ts'

export function addBackup(program: Command): void {
  program
    .command('backup')
    .summary('copy the ledger to a file, while the factory runs')
    .description(
      'Copies the ledger (jobs, tasks, results) to a new file while work goes on. It holds secrets: only its owner can read it. ' +
        'To go on from it: stop the factory, replace ledger.db in the state folder by the copy, remove ledger.db-wal if there ' +
        'is one, and start the factory. Pilots of the time between are turned away and leave.',
    )
    .argument('<file>', 'the file to make')
    .action(async (file: string, _options: object, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const path = resolve(file)
      console.log(`${path}: ${size(await client.backup(path))}`)
    })
}
