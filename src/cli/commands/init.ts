import { cp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { makePrivateFolder } from '../../common/private-path.ts'
import { InputError } from '../../client/errors.ts'
import { defaultConfigYaml } from '../../factory/config/default-config.ts'
import { stateOf } from '../options/common-options.ts'
import { printJson, type JsonOption } from '../json-output/print-json.ts'

/** The example context that comes with the package, next to `src` and `dist`. */
const EXAMPLE = fileURLToPath(new URL('../../../templates/fact-verification', import.meta.url))

export function define(command: Command): void {
  command
    .description(
      'Makes the state folder: factory.yaml, with pilots on this machine and examples for clusters, and the context ' +
        'fact-verification, with a small model and 1,000 claims, to try things out. What is there already is left alone.',
    )
    .option('--json', 'print where it is as JSON')
    .action(init)
}

async function init({ json }: JsonOption, command: Command): Promise<void> {
  const state = stateOf(command)
  process.umask(0o077)
  await makePrivateFolder(state)
  const config = join(state, 'factory.yaml')
  try {
    await writeFile(config, defaultConfigYaml(), { flag: 'wx' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    throw new InputError(`${config} is there already: edit it, or choose another folder with --state`)
  }
  const context = join(state, 'contexts', 'fact-verification')
  await cp(EXAMPLE, context, { recursive: true, force: false })
  if (json) return printJson('factory init', { state, config, context })
  console.log(
    `wrote ${config}: look it over, then "factory start --detach"\n` +
      `to try it: factory run ${join(context, 'claims.jsonl')} --context fact-verification --out results.jsonl`,
  )
}
