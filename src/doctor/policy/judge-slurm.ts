import { duration } from '../../common/plain/quantity-text.ts'
import type { SlurmSiteConfig } from '../../factory/config/config.ts'
import { type Finding, findingsOf, type Said, unlessOneStarts } from './finding.ts'

/** What is asked of a Slurm, by name. */
export const slurmQuestions = (user: string, { partition }: Pick<SlurmSiteConfig, 'partition'>) => ({
  version: ['sbatch', '--version'],
  ping: ['scontrol', 'ping'],
  config: ['scontrol', 'show', 'config'],
  partitions: [
    'scontrol',
    '--oneliner',
    'show',
    'partition',
    ...(partition === undefined ? [] : [partition]),
  ],
  associations: [
    'sacctmgr',
    '--noheader',
    '--parsable2',
    'show',
    'associations',
    `user=${user}`,
    'format=Account,Partition,QOS,MaxSubmitJobs,MaxJobs,GrpSubmitJobs',
  ],
  qos: ['sacctmgr', '--noheader', '--parsable2', 'show', 'qos', 'format=Name,MaxSubmitJobsPerUser,MaxWall'],
})

export type SlurmAnswers = { [K in keyof ReturnType<typeof slurmQuestions>]: Said }

/** Whether a Slurm is there, and which of its limits would bite this site. */
export function judgeSlurm(config: SlurmSiteConfig, said: SlurmAnswers): Finding[] {
  return [
    ...judgeVersion(config, said),
    ...judgeController(config, said),
    ...judgeArrays(config, said),
    ...judgePartition(config, said),
    ...judgeAccounting(config, said),
  ]
}

/** The oldest Slurm whose commands answer as ours are read. */
const OLDEST = 20

function judgeVersion({ name }: SlurmSiteConfig, { version }: SlurmAnswers): Finding[] {
  const { ok, warning, error } = findingsOf('batch-commands', name)
  const found = /slurm\S* (\d+)\.(\d+)\S*/i.exec(version ?? '')
  if (!found)
    return [
      error(
        'sbatch cannot be run on this machine.',
        'The factory submits pilots with sbatch, squeue and scancel.',
        `run the factory on a submit node, load Slurm's module first, or set sites.${name}.commandEnvironment`,
      ),
    ]
  return Number(found[1]) < OLDEST
    ? [
        warning(
          `This is ${found[0]}.`,
          `Gleaner is tried with Slurm ${OLDEST} and newer.`,
          'watch the first pilots',
        ),
      ]
    : [ok(`This is ${found[0]}.`)]
}

function judgeController({ name }: SlurmSiteConfig, { version, ping }: SlurmAnswers): Finding[] {
  const { ok, error } = findingsOf('batch-answers', name)
  if (version === undefined) return []
  if (/is UP/.test(ping ?? '')) return [ok('The controller of Slurm answers.')]
  return [
    unlessOneStarts(
      error(
        `The controller of Slurm does not answer${ping ? `: ${ping.trim().split('\n')[0]}` : ''}.`,
        'No pilot can be submitted until it does; the factory tries again by itself.',
        'wait, or ask the people who run the cluster',
      ),
    ),
  ]
}

function judgeArrays({ name, submitSize }: SlurmSiteConfig, { config }: SlurmAnswers): Finding[] {
  const { ok, warning } = findingsOf('slurm-arrays', name)
  const limits = [/^MaxArraySize\s*=\s*(\d+)/m, /\bmax_array_tasks=(\d+)/].flatMap(
    (pattern) => Number(pattern.exec(config ?? '')?.[1] ?? NaN) || [],
  )
  if (limits.length === 0) return []
  const most = Math.min(...limits)
  // An array of so many has the indices 0 to one less.
  if (most >= submitSize)
    return [ok(`Job arrays may have ${most} elements; a submission has at most ${submitSize}.`)]
  return [
    warning(
      `Job arrays may have at most ${most} elements, and a submission up to ${submitSize}.`,
      'Larger submissions are refused; the factory then halves them until they fit.',
      `sites.${name}.submitSize: ${most}`,
    ),
  ]
}

/** The keys and values of one line of `scontrol --oneliner`. */
function fieldsOf(line: string): Map<string, string> {
  return new Map([...line.matchAll(/(\w+)=(\S*)/g)].map(([, key, value]) => [key!, value!]))
}

/** `1-00:00:00`, `12:00:00` or `30:00` as seconds; Infinity for what is no limit. */
export function slurmSeconds(text: string | undefined): number {
  const [, days = 0, hours = 0, minutes, seconds] =
    /^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)$/.exec(text ?? '') ?? []
  if (minutes === undefined) return Infinity
  return ((Number(days) * 24 + Number(hours)) * 60 + Number(minutes)) * 60 + Number(seconds)
}

function judgePartition(
  { name, partition, walltime, grace }: SlurmSiteConfig,
  { partitions }: SlurmAnswers,
): Finding[] {
  if (partitions === undefined) return []
  const { ok, warning, error } = findingsOf('slurm-partition', name)
  const all = partitions
    .split('\n')
    .filter((line) => line.startsWith('PartitionName='))
    .map(fieldsOf)
  const found = all.find((fields) =>
    partition === undefined ? fields.get('Default') === 'YES' : fields.get('PartitionName') === partition,
  )
  if (!found) {
    return partition === undefined
      ? [
          unlessOneStarts(
            error(
              'No partition is the default one, and the site names none.',
              'sbatch refuses jobs without a partition.',
              `sites.${name}.partition: …`,
            ),
          ),
        ]
      : [
          unlessOneStarts(
            error(
              `There is no partition ${partition}.`,
              'sbatch refuses every pilot.',
              `sites.${name}.partition: one of those that "sinfo" lists`,
            ),
          ),
        ]
  }
  const called = `Partition ${found.get('PartitionName')}`
  const findings: Finding[] = []
  if (found.get('State') !== 'UP')
    findings.push(
      unlessOneStarts(
        warning(
          `${called} is ${found.get('State')}.`,
          'Pilots wait until it is up.',
          `wait, or another sites.${name}.partition`,
        ),
      ),
    )
  const longest = slurmSeconds(found.get('MaxTime'))
  if (walltime !== undefined && walltime > longest)
    findings.push(
      unlessOneStarts(
        error(
          `${called} ends jobs after ${duration(longest * 1000)}, and the site asks for ${duration(walltime * 1000)}.`,
          'Such pilots are refused, or wait without end.',
          `sites.${name}.walltime: ${Math.floor(longest / 60)}m`,
        ),
      ),
    )
  if (walltime === undefined && longest === Infinity && slurmSeconds(found.get('DefaultTime')) === Infinity)
    findings.push(
      warning(
        `${called} has no time limit, and the site asks for none.`,
        'Jobs with a short walltime are started sooner, in gaps that others leave.',
        `sites.${name}.walltime: 4h`,
      ),
    )
  const warnsFor = Number(found.get('GraceTime') ?? NaN)
  if (/CANCEL|REQUEUE/.test(found.get('PreemptMode') ?? '') && warnsFor < grace)
    findings.push(
      warning(
        `${called} takes nodes back ${warnsFor} s after its warning, and the site counts on ${grace} s.`,
        'A worker that counts on more time than it has loses what it was about to hand back.',
        `sites.${name}.grace: ${Math.max(1, warnsFor)}s`,
      ),
    )
  return findings.length > 0 ? findings : [ok(`${called} is up and takes what the site asks for.`)]
}

const limitOf = (text: string | undefined) => (text ? Number(text) : Infinity)

function judgeAccounting(
  { name, max, qos, account, walltime }: SlurmSiteConfig,
  said: SlurmAnswers,
): Finding[] {
  const { ok, warning, error } = findingsOf('slurm-limits', name)
  const rows = (said.associations ?? '')
    .split('\n')
    .filter((line) => line.includes('|'))
    .map((line) => line.split('|'))
  const mine = rows.filter(([of]) => account === undefined || of === account)
  if (rows.length > 0 && mine.length === 0)
    return [
      unlessOneStarts(
        error(
          `This user has no account ${account} in Slurm.`,
          'sbatch refuses every pilot.',
          `sites.${name}.account: ${rows[0]![0]}`,
        ),
      ),
    ]
  const findings: Finding[] = []
  const named = mine.flatMap(([, , allowed = '']) => allowed.split(','))
  if (qos !== undefined && mine.length > 0 && !named.includes(qos))
    findings.push(
      unlessOneStarts(
        error(
          `This user may not use the QoS ${qos}.`,
          'sbatch refuses every pilot.',
          `sites.${name}.qos: ${named.filter(Boolean).join(' or ') || '(none)'}`,
        ),
      ),
    )
  const levels = (said.qos ?? '').split('\n').map((line) => line.split('|'))
  const level = levels.find(([of]) => of === (qos ?? 'normal'))
  const [most, whose] = smallest([
    [Math.max(-1, ...mine.map((row) => Math.min(limitOf(row[3]), limitOf(row[5])))), 'the association'],
    [limitOf(level?.[1]), `the QoS ${level?.[0]}`],
  ])
  if (mine.length > 0 && most < max)
    findings.push(
      warning(
        `By ${whose}, this user may have at most ${most} jobs in the queue; the site's max is ${max}.`,
        'Submissions beyond it are refused, and the site pauses after each refusal.',
        `sites.${name}.max: ${most}`,
      ),
    )
  const longest = slurmSeconds(level?.[2])
  if (walltime !== undefined && walltime > longest)
    findings.push(
      unlessOneStarts(
        error(
          `The QoS ${level![0]} allows ${duration(longest * 1000)}, and the site asks for ${duration(walltime * 1000)}.`,
          'Such pilots are refused, or wait without end.',
          `sites.${name}.walltime: ${Math.floor(longest / 60)}m`,
        ),
      ),
    )
  if (findings.length > 0) return findings
  return [
    ok(
      rows.length === 0
        ? 'Slurm keeps no accounts of this user: no limits of associations apply.'
        : 'No limit of accounts and QoS is below what the site asks for.',
    ),
  ]
}

function smallest(limits: [number, string][]): [number, string] {
  const real = limits.filter(([limit]) => limit >= 0)
  return real.reduce((least, each) => (each[0] < least[0] ? each : least), [Infinity, ''])
}
