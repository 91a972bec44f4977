import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import { stringify } from 'yaml'
import { configFiles, loadConfig } from '../../../factory/config/load-config.ts'
import { plural } from '../../views/format.ts'
import { stateOf } from '../../options/common-options.ts'

export function define(config: Command): void {
  config
    .command('check')
    .summary('say whether the configuration is good')
    .description(
      'Reads the files that make up the configuration, and names the first thing that is wrong, with file, line and key. Asks no batch ' +
        'system anything: "factory doctor" does.',
    )
    .option('--json', 'print which files there are, and the sites, as JSON')
    .action(({ json }: { json?: boolean }, command: Command) => {
      const { files, sites, warnings } = read(command)
      const names = sites.map(({ name }) => name)
      if (json) return console.log(JSON.stringify({ files, sites: names, warnings }, null, 2))
      for (const warning of warnings) console.log(warning)
      console.log(
        `the configuration is good: ${plural(sites.length, 'site')} from ${files.join(', ') || 'no file'}`,
      )
    })
  config
    .command('show')
    .summary('print the configuration that is in force')
    .description(
      'Prints the configuration that is in force: all files merged, and defaults filled in. Times are in seconds, sizes in MiB.',
    )
    .option('--json', 'print it as JSON')
    .action(({ json }: { json?: boolean }, command: Command) => {
      const { files, manager, contexts, sites } = read(command)
      const named = Object.fromEntries(sites.map(({ name, ...site }) => [name, site]))
      const shown = { manager, contexts, sites: named }
      if (json) return console.log(JSON.stringify({ files, ...shown }, null, 2))
      console.log(`${files.map((file) => `# ${file}\n`).join('')}${stringify(shown).trimEnd()}`)
    })
  config
    .command('schema')
    .summary('print the JSON Schema of factory.yaml')
    .description(
      'Prints the JSON Schema of factory.yaml, by which editors complete and check it. Write it to a file, and begin factory.yaml with ' +
        '"# yaml-language-server: $schema=FILE".',
    )
    .action(async () => {
      const { configJsonSchema } = await import('../../../factory/config/key-meanings.ts')
      console.log(JSON.stringify(configJsonSchema(), null, 2))
    })
}

function read(command: Command) {
  const paths = configFiles(stateOf(command))
  return { files: paths.filter((path) => existsSync(path)), ...loadConfig(paths) }
}
