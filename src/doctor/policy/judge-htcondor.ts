import type { HtcondorSiteConfig } from '../../factory/config/config.ts'
import { type Finding, findingsOf, type Said, unlessOneStarts } from './finding.ts'

/** What is asked of an HTCondor, by name. */
export const htcondorQuestions = () => ({
  version: ['condor_version'],
  limits: ['condor_config_val', '-dump', 'MAX_JOBS_'],
  slots: [
    'condor_status',
    '-constraint',
    'SlotType =!= "Dynamic"',
    '-autoformat',
    'TotalSlotCpus',
    'TotalSlotMemory',
    'TotalSlotGPUs',
  ],
})

export type HtcondorAnswers = { [K in keyof ReturnType<typeof htcondorQuestions>]: Said }

/** Whether an HTCondor is there, and which of its limits would bite this site. */
export function judgeHtcondor(config: HtcondorSiteConfig, said: HtcondorAnswers): Finding[] {
  return [
    ...judgeVersion(config, said),
    ...judgeLimits(config, said),
    ...judgeSlots(config, said).map(unlessOneStarts),
  ]
}

function judgeVersion({ name }: HtcondorSiteConfig, { version }: HtcondorAnswers): Finding[] {
  const { ok, warning, error } = findingsOf('batch-commands', name)
  const found = /CondorVersion: (\d+)\.(\d+)\.(\d+)/.exec(version ?? '')
  if (!found)
    return [
      error(
        'condor_version cannot be run on this machine.',
        'The factory submits pilots with condor_submit, condor_q and condor_rm.',
        `run the factory on a submit node, or set sites.${name}.commandEnvironment`,
      ),
    ]
  const text = `This is HTCondor ${found.slice(1).join('.')}.`
  return Number(found[1]) < 9
    ? [warning(text, 'Gleaner is tried with HTCondor 9 and newer.', 'watch the first pilots')]
    : [ok(text)]
}

function judgeLimits({ name, max, submitSize }: HtcondorSiteConfig, { limits }: HtcondorAnswers): Finding[] {
  if (limits === undefined) return []
  const { ok, warning } = findingsOf('htcondor-limits', name)
  const limit = (key: string) => Number(new RegExp(`^${key}\\s*=\\s*(\\d+)`, 'm').exec(limits)?.[1] ?? NaN)
  const findings: Finding[] = []
  for (const key of ['MAX_JOBS_PER_OWNER', 'MAX_JOBS_SUBMITTED'])
    if (limit(key) < max)
      findings.push(
        warning(
          `${key} is ${limit(key)}; the site's max is ${max}.`,
          'Submissions beyond it are refused, and the site pauses after each refusal.',
          `sites.${name}.max: ${limit(key)}`,
        ),
      )
  const once = limit('MAX_JOBS_PER_SUBMISSION')
  if (once < submitSize)
    findings.push(
      warning(
        `MAX_JOBS_PER_SUBMISSION is ${once}, and a submission has up to ${submitSize} pilots.`,
        'Larger submissions are refused; the factory then halves them until they fit.',
        `sites.${name}.submitSize: ${once}`,
      ),
    )
  return findings.length > 0 ? findings : [ok('No limit of the pool is below what the site asks for.')]
}

function judgeSlots({ name, cpus, gpus, memory }: HtcondorSiteConfig, { slots }: HtcondorAnswers): Finding[] {
  if (slots === undefined) return []
  const { ok, warning } = findingsOf('htcondor-slots', name)
  const found = slots
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter(([hasCpus]) => hasCpus !== undefined && hasCpus > 0)
  if (found.length === 0)
    return [
      warning(
        'The pool shows no slots.',
        'Pilots wait until machines join it.',
        'ask "condor_status" later, or the people who run the pool',
      ),
    ]
  const megabytes = memory === 'none' ? 0 : memory
  const fitting = found.filter(
    ([hasCpus = 0, hasMemory = 0, hasGpus]) =>
      hasCpus >= cpus && hasMemory >= megabytes && (hasGpus || 0) >= gpus,
  )
  const ask = `${cpus} CPUs, ${megabytes} MB${gpus > 0 ? ` and ${gpus} GPUs` : ''}`
  if (fitting.length > 0)
    return [
      ok(`${fitting.length} of ${found.length} machines of the pool are large enough for a pilot (${ask}).`),
    ]
  return [
    warning(
      `None of the ${found.length} machines that the pool shows now is large enough for a pilot (${ask}).`,
      'Pilots wait without end, unless larger machines join.',
      `smaller sites.${name}.cpus, memory or gpus`,
    ),
  ]
}
