import { resolve } from 'node:path'
import type { Command } from 'commander'
import { table } from '../format.ts'
import { clientFor } from '../options.ts'

export function addContext(program: Command): void {
  const context = program
    .command('context')
    .description('add, list, warm and drop contexts')
    .helpCommand(false)
  context
    .command('add')
    .summary('add a context, or a new version of one')
    .description(
      'Adds the context that a context.yaml describes, and packs its bundles. Waits until that is done.',
    )
    .argument('<path>', 'a context.yaml, or the folder that holds it')
    .action(async (path: string, _options: object, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const { name, id } = await client.addContext(resolve(path))
      console.log(`${name} ${id}`)
    })
  context
    .command('warm')
    .summary("bring a context's files to the workers ahead")
    .description(
      "Has every worker that has nothing else to fetch bring the context's files to its disk, now and as workers come, until " +
        'it is dropped or the factory stops.',
    )
    .argument('<name>', 'a context')
    .action(async (name: string, _options: object, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      await client.warmContext(name)
      console.log(`${name} is fetched ahead by workers with nothing else to fetch`)
    })
  context
    .command('drop')
    .summary('let go of a context everywhere')
    .description(
      'Has every worker let go of the context, in memory and on disk, and the factory forget its name. "factory context add" has it ' +
        'back.',
    )
    .argument('<name>', 'a context that no job needs')
    .action(async (name: string, _options: object, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      await client.dropContext(name)
      console.log(`${name} is let go of by all workers`)
    })
  context
    .command('list')
    .description('list the contexts the factory knows')
    .option('--json', 'print them as JSON')
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const contexts = await client.contexts()
      if (json) return console.log(JSON.stringify(contexts, null, 2))
      const rows = contexts.map(({ name, id, spec }) => [
        name,
        spec.library,
        Object.keys(spec.functions).join(', '),
        id.slice(0, 12),
      ])
      console.log(table(['CONTEXT', 'LIBRARY', 'FUNCTIONS', 'ID'], rows))
    })
}
