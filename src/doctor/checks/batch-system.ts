import { duration } from '../../common/plain/quantity-text.ts'
import type { BatchSiteConfig, Config, SiteConfig } from '../../factory/config/config.ts'
import { makeSite } from '../../factory/factory.ts'
import { openTransports } from '../../factory/transports/open-transports.ts'
import { checkSite } from '../../factory/submissions/dry-run.ts'
import type { Boot } from '../../factory/submissions/submission.ts'
import type { Site } from '../../factory/sites/site.ts'
import { type Finding, findingsOf, type Said, unlessOneStarts } from '../policy/finding.ts'
import { htcondorQuestions, judgeHtcondor } from '../policy/judge-htcondor.ts'
import { judgeSlurm, slurmQuestions } from '../policy/judge-slurm.ts'

/** Longest that one question may take, milliseconds. */
const LIMIT_MS = 30_000
/** A queue that takes longer to list holds up what the factory does, milliseconds. */
const SLOW_MS = 5_000

/** A runtime that nothing is booted from: whether a job file is accepted does not depend on it. */
const NOTHING_TO_BOOT = { path: '/nonexistent', sha256: '0'.repeat(64) }

/** Asks a site's batch system who it is, what it limits, and whether it would take a pilot. */
export async function* askBatchSystem(
  config: Config,
  site: SiteConfig,
  state: string,
  boot: Omit<Boot, 'runtime'>,
): AsyncGenerator<Finding> {
  if (site.kind === 'local') {
    yield findingsOf('batch-commands', site.name).ok(
      'Pilots are processes of this machine: there is no batch system to ask.',
    )
    return
  }
  using transports = openTransports(state)
  const batch = makeSite(site, 'doctor', state, transports, () => {})
  const user = await askOne(batch, ['id', '-un'])
  const findings = await judge(site, batch, user?.trim() ?? '')
  yield* findings
  // Without its commands there is nothing more to find out.
  if (findings.some(({ check, verdict }) => check === 'batch-commands' && verdict === 'error')) return
  yield await listQueue(site, batch)
  yield unlessOneStarts(await tryTemplate(config, site, state, { ...boot, runtime: NOTHING_TO_BOOT }))
}

/** What is known to ask of each kind of batch system. */
async function judge(site: BatchSiteConfig, batch: Site, user: string): Promise<Finding[]> {
  switch (site.kind) {
    case 'slurm':
      return judgeSlurm(site, await askAll(batch, slurmQuestions(user, site)))
    case 'htcondor':
      return judgeHtcondor(site, await askAll(batch, htcondorQuestions()))
    case 'pbs':
      // Its limits are told with a refusal; that its server answers is seen when a pilot is tried.
      return []
  }
}

async function askAll<Questions extends Record<string, string[]>>(
  batch: Site,
  questions: Questions,
): Promise<{ [K in keyof Questions]: Said }> {
  const asked = Object.entries(questions).map(async ([name, command]): Promise<[string, Said]> => [
    name,
    await askOne(batch, command),
  ])
  return Object.fromEntries(await Promise.all(asked)) as { [K in keyof Questions]: Said }
}

async function askOne(batch: Site, command: string[]): Promise<Said> {
  const answer = await batch.ask(command, AbortSignal.timeout(LIMIT_MS)).catch(() => undefined)
  return answer?.code === 0 ? answer.stdout : undefined
}

async function listQueue({ name }: SiteConfig, batch: Site): Promise<Finding> {
  const { ok, warning, error } = findingsOf('batch-queue', name)
  const startedAt = performance.now()
  try {
    const { oddities } = await batch.list(AbortSignal.timeout(LIMIT_MS))
    const ms = performance.now() - startedAt
    if (oddities[0] !== undefined)
      return warning(
        oddities[0],
        'A queue that cannot be read whole may hold pilots that are not seen.',
        'have wrappers of the commands print nothing else',
      )
    return ms > SLOW_MS
      ? warning(
          `The queue takes ${duration(ms)} to list.`,
          'The factory asks for it again and again.',
          `sites.${name}.poll: 60s`,
        )
      : ok(`The queue can be listed, in ${duration(ms)}.`)
  } catch (thrown) {
    return error(
      `The queue cannot be listed: ${(thrown as Error).message}`,
      'The factory submits nothing where it cannot see what is there.',
      'mend that first',
    )
  }
}

async function tryTemplate(
  config: Config,
  { name }: SiteConfig,
  state: string,
  boot: Boot,
): Promise<Finding> {
  const { ok, error } = findingsOf('submission', name)
  const why = 'Every pilot of the site would be refused like that.'
  const fix = `the keys of sites.${name} in factory.yaml; "factory submit --dry-run ${name}" shows what is submitted`
  try {
    const { accepted, said } = await checkSite(config, name, state, boot)
    return accepted ? ok('It would take a pilot.') : error(`It would not take a pilot: ${said}`, why, fix)
  } catch (thrown) {
    return error(`A pilot cannot be described: ${(thrown as Error).message}`, why, fix)
  }
}
