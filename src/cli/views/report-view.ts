import { type Report, totalOf } from '../../report/make-report.ts'
import {
  energyLines,
  evictionLines,
  headline,
  PHASES,
  savingLines,
  share,
  siteHours,
  slotHours,
  wattHours,
} from '../../report/report-sentences.ts'
import { errorLines } from './errors-view.ts'
import { count, duration, table } from './format.ts'

/** Nodes that are shown: the slowest. */
const NODES = 5
/** Kinds of errors that are shown: the commonest. */
const ERRORS = 5

/** A report as text for a terminal. */
export function reportText(report: Report): string {
  const { job, spent, errors, nodes, pools } = report
  const total = totalOf(spent)
  const times = table(PHASES, [
    ['SLOT TIME', ([, name]) => name],
    ['SPENT', ([phase]) => slotHours(spent[phase])],
    ['SHARE', ([phase]) => share(spent[phase], total)],
  ])
  const isTold = pools.some(({ energyJ }) => energyJ !== undefined)
  const sites = table(siteHours(pools), [
    ['SITE', ({ site }) => site],
    ['SLOTS', ({ kind }) => kind],
    ['TIME HELD', ({ ms }) => slotHours(ms)],
    ['INFERENCE', ({ usefulMs }) => slotHours(usefulMs)],
    ...(isTold ? [['ENERGY', ({ energyJ }: { energyJ?: number }) => wattHours(energyJ)] as const] : []),
  ])
  const slowest = table(nodes.slice(0, NODES), [
    ['SLOWEST NODE', ({ node }) => node],
    ['SITE', ({ site }) => site],
    ['SLOTS', ({ device }) => device],
    ['TASKS', ({ tasks }) => count(tasks)],
    ['MEAN', ({ meanMs }) => duration(meanMs)],
  ])
  const sections = [
    [`job ${job.id} "${job.name}", ${job.state}`, ...headline(report)],
    total > 0 ? [times] : ['No slot time was measured.'],
    evictionLines(report),
    savingLines(report),
    energyLines(report),
    pools.length > 0 ? [sites] : [],
    nodes.length > 0 ? [slowest] : [],
    errors.failed > 0 ? errorLines(errors, job.id, ERRORS) : [],
  ]
  return sections
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n')
}
