import type { Command } from 'commander'
import { InputError } from '../../../client/errors.ts'
import type { Finding } from '../../../doctor/doctor.ts'
import { exitCodes } from '../../exit/exit-codes.ts'
import { findingText } from '../../views/findings-view.ts'
import { plural } from '../../views/format.ts'
import { expectedUrl, listenAddress } from '../../factory-process/expected-address.ts'
import { onInterrupt } from '../../exit/interrupt.ts'
import { stateOf, wholeNumber } from '../../options/common-options.ts'

interface Options {
  json?: boolean
  quiet?: boolean
  probe?: boolean
  wait: number
}

export function define(command: Command): void {
  command
    .description(
      'Looks at this machine, the state folder, the configuration, the address that pilots dial, and the batch systems with their ' +
        'limits, whether or not a factory runs, and says of each thing whether it is well, why it matters and what to change. Exits with 0 ' +
        'if all is well, 3 if there are warnings, 1 if there are errors. With --probe, it also submits a pilot or two at each site, which report ' +
        'from their nodes what those are like, and are removed again.',
    )
    .argument('[site]', 'only this site')
    .option('--probe', 'look at compute nodes, too, by pilots that report from there')
    .option('--wait <seconds>', 'longest that a probe may wait in the queue', wholeNumber(1, 86_400), 600)
    .option('--json', 'print the findings as JSON')
    .option('--quiet', 'print only what is not well')
    .action(async (site: string | undefined, { json, quiet, probe, wait }: Options, command: Command) => {
      const { examine, UnknownSiteError } = await import('../../../doctor/doctor.ts')
      const findings: Finding[] = []
      using interrupted = onInterrupt()
      try {
        const addressOf: Parameters<typeof examine>[0]['addressOf'] = (config) => ({
          ...listenAddress(config),
          ...expectedUrl(config),
        })
        for await (const finding of examine({
          state: stateOf(command),
          site,
          addressOf,
          probe: probe
            ? { waitMs: wait * 1000, signal: interrupted, onDoing: (what) => console.error(what) }
            : undefined,
        })) {
          findings.push(finding)
          if (!json && !(quiet && finding.verdict === 'ok')) console.log(findingText(finding))
        }
      } catch (error) {
        if (error instanceof UnknownSiteError) throw new InputError(error.message)
        throw error
      }
      if (json) console.log(JSON.stringify({ findings }, null, 2))
      else if (!quiet) console.log(`\n${summaryOf(findings)}`)
      process.exitCode = exitCodeOf(findings)
    })
}

const countOf = (findings: Finding[], verdict: Finding['verdict']) =>
  findings.filter((finding) => finding.verdict === verdict).length

function summaryOf(findings: Finding[]): string {
  const [errors, warnings] = [countOf(findings, 'error'), countOf(findings, 'warning')]
  return errors + warnings === 0
    ? 'all is well'
    : `${plural(errors, 'error')}, ${plural(warnings, 'warning')}`
}

function exitCodeOf(findings: Finding[]): number {
  if (countOf(findings, 'error') > 0) return exitCodes.failed
  return countOf(findings, 'warning') > 0 ? exitCodes.warnings : exitCodes.done
}
