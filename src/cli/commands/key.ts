import type { Command } from 'commander'
import { table, timeOfDay } from '../views/format.ts'
import { printJson, type JsonOption } from '../json-output/print-json.ts'
import { clientFor } from '../options/common-options.ts'

export function define(key: Command): void {
  key
    .command('create')
    .summary('make a key for a program or a person')
    .description(
      'Makes a key that opens the OpenAI API of this factory, and nothing else of it. The key is shown once: the factory keeps only ' +
        'its hash.',
    )
    .argument('<name>', 'what to call it')
    .option(
      '--model <name...>',
      'it may use these models only, and sees only the files and batches that it made',
    )
    .option('--read-only', 'it may look, and start nothing')
    .option('--json', 'print it as JSON')
    .action(
      async (
        name: string,
        options: { model?: string[]; readOnly?: boolean } & JsonOption,
        command: Command,
      ) => {
        await using client = clientFor(command, { patienceMs: 0 })
        const { model: models, readOnly = false } = options
        const created = await client.createKey({ name, readOnly, ...(models && { models }) })
        if (options.json) return printJson('factory key create', created)
        console.log(created.key)
      },
    )
  key
    .command('list')
    .description('list the keys, not what they are')
    .option('--json', 'print them as JSON')
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const keys = await client.keys()
      if (json) return console.log(JSON.stringify(keys, null, 2))
      const text = table(keys, [
        ['KEY', ({ name }) => name],
        ['MODELS', ({ models }) => models?.join(', ') ?? 'all'],
        ['MAY', ({ readOnly }) => (readOnly ? 'read' : 'use')],
        ['CREATED', ({ createdAt }) => timeOfDay(createdAt)],
        ['REVOKED', ({ revokedAt }) => (revokedAt === undefined ? '' : timeOfDay(revokedAt))],
      ])
      console.log(text)
    })
  key
    .command('revoke')
    .description('have a key open nothing from now on')
    .argument('<name>', 'what it is called')
    .option('--json', 'print it as JSON')
    .action(async (name: string, { json }: JsonOption, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const revoked = await client.revokeKey(name)
      if (json) return printJson('factory key revoke', revoked)
      console.log(`${name} opens nothing any more`)
    })
}
