import { join } from 'node:path'
import type { Command } from 'commander'
import { pino } from 'pino'
import { openStore } from '../../../bundle/store/store.ts'
import { readEndpoint } from '../../../client/endpoint.ts'
import { GleanerError, InputError } from '../../../client/errors.ts'
import { configFiles, loadConfig } from '../../../factory/config/load-config.ts'
import { checkSite, dryRun, siteOf } from '../../../factory/submissions/dry-run.ts'
import { ownCertificate } from '../../../manager/http/tls.ts'
import { PACKING } from '../../views/progress/announce-slow-work.ts'
import { expectedUrl, unreachable } from '../../factory-process/expected-address.ts'
import { dryRunText } from '../../views/dry-run-view.ts'
import { printJson, type JsonOption } from '../../json-output/print-json.ts'
import { stateOf, wholeNumber } from '../../options/common-options.ts'

interface Options extends JsonOption {
  dryRun?: boolean
  check?: boolean
  all?: boolean
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
    .option('--all', 'print pilot.sh and the certificate, too, which are the same at all sites')
    .option('--json', 'print it as JSON')
    .option('--pilots <number>', 'pilots in the submission', wholeNumber(1, 1000), 1)
    .action(submit)
}

async function submit(
  site: string,
  { dryRun: only, check, pilots, json, all }: Options,
  command: Command,
): Promise<void> {
  if (!only) {
    throw new InputError(
      'the factory submits by itself, whenever a site needs pilots: --dry-run shows what it would submit',
    )
  }
  const state = stateOf(command)
  const config = loadConfig(configFiles(state))
  siteOf(config, site)
  // Loaded here: it brings a compiler along.
  const { packRuntime } = await import('../../../runtime/pack-runtime.ts')
  await using store = await openStore({ folder: join(state, 'store'), log: pino({ level: 'silent' }) })
  const onPacking = () => console.error(PACKING)
  const runtime = await packRuntime({ store, log: pino({ level: 'silent' }), onPacking })
  const expected = expectedUrl(config)
  const managerUrl = config.manager.url ?? readEndpoint(state)?.url ?? expected.url
  // Made here if the factory has never been started: pilots get this very one.
  const own = expected.tls && (await ownCertificate(state, [new URL(managerUrl).hostname]))
  const boot = { managerUrl, runtime, ...(own && { caFile: own.certFile }) }
  const shown = await dryRun(config, site, pilots, state, boot)
  const warnings = unreachable(config, managerUrl).filter((warning) => warning.startsWith(`site ${site}:`))
  if (!json) console.log(dryRunText(shown, all ?? false))
  if (!json) for (const warning of warnings) console.error(warning)
  const verdict = check ? await checkSite(config, site, state, boot) : undefined
  if (json) {
    const { folder, files, command: argv } = shown
    printJson('factory submit', {
      folder,
      files,
      command: argv,
      warnings,
      ...(verdict && { check: verdict }),
    })
  }
  if (!verdict) return
  const { accepted, said } = verdict
  if (!accepted) throw new GleanerError(`the batch system would not take it: ${said}`)
  if (json) return
  console.log(`==> check <==\nthe batch system would take it${said && `: ${said}`}`)
}
