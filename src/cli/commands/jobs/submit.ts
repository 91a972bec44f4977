import { join } from 'node:path'
import type { Command } from 'commander'
import { pino } from 'pino'
import { openStore } from '../../../bundle/store/store.ts'
import { readEndpoint } from '../../../client/endpoint.ts'
import { GleanerError, InputError } from '../../../client/errors.ts'
import { configFiles, loadConfig } from '../../../factory/config/load-config.ts'
import { checkSite, dryRun, type DryRun } from '../../../factory/submissions/dry-run.ts'
import { ownCertificate } from '../../../manager/http/tls.ts'
import { expectedUrl, unreachable } from '../../expected-address.ts'
import { stateOf, wholeNumber } from '../../options.ts'

interface Options {
  dryRun?: boolean
  check?: boolean
  pilots: number
}

export function define(command: Command): void {
  command
    .description(
      'Shows the files and the command by which the factory would submit pilots at a site. The factory itself submits ' +
        'as many as the site needs, whenever it needs them.',
    )
    .argument('<site>', 'name of a site in factory.yaml')
    .option('--dry-run', 'submit nothing; needed, since the factory submits by itself')
    .option(
      '--check',
      'also ask the batch system whether it would take it: sbatch --test-only, condor_submit -dry-run',
    )
    .option('--pilots <number>', 'pilots in the submission', wholeNumber(1, 1000), 1)
    .action(submit)
}

async function submit(
  site: string,
  { dryRun: only, check, pilots }: Options,
  command: Command,
): Promise<void> {
  if (!only) {
    throw new InputError(
      'the factory submits by itself, whenever a site needs pilots: --dry-run shows what it would submit',
    )
  }
  const state = stateOf(command)
  const config = loadConfig(configFiles(state))
  // Loaded here: it brings a compiler along.
  const { packRuntime } = await import('../../../runtime/pack-runtime.ts')
  await using store = await openStore({ folder: join(state, 'store'), log: pino({ level: 'silent' }) })
  const runtime = await packRuntime({ store, log: pino({ level: 'silent' }) })
  const expected = expectedUrl(config)
  const managerUrl = config.manager.url ?? readEndpoint(state)?.url ?? expected.url
  // Made here if the factory has never been started: pilots get this very one.
  const own = expected.tls && (await ownCertificate(state, [new URL(managerUrl).hostname]))
  const boot = { managerUrl, runtime, ...(own && { caFile: own.certFile }) }
  console.log(text(await dryRun(config, site, pilots, state, boot)))
  for (const warning of unreachable(config, managerUrl))
    if (warning.startsWith(`site ${site}:`)) console.error(warning)
  if (!check) return
  const { accepted, said } = await checkSite(config, site, state, boot)
  if (!accepted) throw new GleanerError(`the batch system would not take it: ${said}`)
  console.log(`==> check <==\nthe batch system would take it${said && `: ${said}`}`)
}

function text({ folder, files, command }: DryRun): string {
  const parts = files.map(({ name, content }) => `==> ${folder}/${name} <==\n${content}`)
  return [...parts, `==> command <==\n${command.join(' ')}`].join('\n')
}
