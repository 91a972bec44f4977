import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { size } from '../views/format.ts'
import { printJson, type JsonOption } from '../json-output/print-json.ts'
import { clientFor, stateOf } from '../options/common-options.ts'

export function define(command: Command): void {
  command
    .description(
      'Copies the ledger (jobs, tasks, results) to a new file while work goes on. It holds secrets: only its owner can read it. ' +
        'Large arguments and results are not in it: to keep them, copy the folder "blobs" of the state folder, too. ' +
        'To go on from it: stop the factory, replace ledger.db in the state folder by the copy, remove ledger.db-wal if there ' +
        'is one, and start the factory. Pilots of the time between are turned away and leave.',
    )
    .argument('<file>', 'the file to make')
    .option('--json', 'print the file and sizes as JSON')
    .action(async (file: string, { json }: JsonOption, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const path = resolve(file)
      const { bytes, blobBytes } = await client.backup(path)
      if (json) return printJson('factory backup', { file: path, bytes, blobBytes })
      console.log(`${path}: ${size(bytes)}`)
      if (blobBytes === 0) return
      const blobs = join(stateOf(command), 'blobs')
      console.error(
        `large arguments and results are not in it: to keep them, copy ${blobs} (${size(blobBytes)}) too`,
      )
    })
}
