import { count, duration, plural, rate } from '../common/plain/quantity-text.ts'
import type { SlotTime } from '../protocol/events.ts'
import { type PoolTime, type Report, savingOf, totalOf } from './make-report.ts'

/** The phases of slot time, with what people call them. */
export const PHASES: readonly (readonly [phase: keyof SlotTime, name: string])[] = [
  ['inference', 'inference'],
  ['load', 'loading'],
  ['fetch', 'fetching'],
  ['boot', 'booting'],
  ['idle', 'idle'],
  ['lost', 'lost'],
]

/** Tasks of one batch, as in the experiment with which contexts that are kept are compared. */
const BATCH = 100

/** Hours of slots, or of GPUs if they are that. */
export function slotHours(ms: number): string {
  const hours = ms / 3_600_000
  return hours >= 0.1 ? `${Number(hours.toPrecision(3)).toLocaleString('en-US')} h` : duration(ms)
}

export const share = (part: number, whole: number): string =>
  whole > 0 ? `${((part / whole) * 100).toFixed(1)} %` : '0 %'

/** How it went, in a few sentences. */
export function headline({ job, from, to, hasEnded, isCut, attemptsLost, otherJobs }: Report): string[] {
  const ended = job.done + job.failed
  const lines = [
    `${count(job.done)} of ${plural(job.tasks, 'task')} done${job.failed > 0 ? `, ${count(job.failed)} failed` : ''} ` +
      `in ${duration(to - from)}: ${rate(ended / Math.max(0.001, (to - from) / 1000))} a second.`,
  ]
  if (!hasEnded) lines.push('The job has not ended: this is how it stands.')
  if (attemptsLost > 0)
    lines.push(
      `${plural(attemptsLost, 'task')} had to be given to another worker, as the first was taken away.`,
    )
  if (otherJobs > 0)
    lines.push(
      `${plural(otherJobs, 'other job')} ran meanwhile: workers and slot time below are of all of them together.`,
    )
  if (isCut)
    lines.push(
      'What happened first is no longer among the events that the ledger keeps, and is missing here.',
    )
  return lines
}

/** What evictions cost. */
export function evictionLines({ taken, spent }: Report): string[] {
  const { evicted, lost } = taken
  if (evicted.workers + lost.workers === 0) return ['No worker was taken away.']
  const told = ({ workers, requeued, lostMs }: typeof evicted, how: string) =>
    workers === 0
      ? []
      : [
          `${plural(workers, 'worker')} ${how}: ${plural(requeued, 'task')} given back, ${duration(lostMs)} of slot time lost.`,
        ]
  return [
    ...told(evicted, 'left with warning'),
    ...told(lost, 'fell silent'),
    `That is ${share(evicted.lostMs + lost.lostMs, totalOf(spent))} of all slot time.`,
  ]
}

/** What it saved that contexts are kept. */
export function savingLines(report: Report): string[] {
  const { loads, loadMs, fetches, fetchMs } = report.context
  const each = savingOf(report, 1)
  const batched = savingOf(report, BATCH)
  if (each === undefined || batched === undefined) return ['No load of the context was measured.']
  return [
    `Workers loaded the context ${plural(loads, 'time')}, ${duration(loadMs / loads)} of slot time each` +
      (fetches > 0
        ? `, and fetched it ${plural(fetches, 'time')} in ${duration(fetchMs / fetches)} each.`
        : '.'),
    `Loaded anew for each batch of ${BATCH} tasks, it would have taken ${duration(batched)} of slot time more; ` +
      `for each task, ${duration(each)}.`,
  ]
}

/** Energy in watt-hours, as people speak of it; `not told` where no driver tells. */
export function wattHours(joules: number | undefined): string {
  if (joules === undefined) return 'not told'
  const hours = joules / 3_600
  const [value, unit] = hours >= 1_000 ? [hours / 1_000, 'kWh'] : [hours, 'Wh']
  return `${Number(value.toPrecision(3)).toLocaleString('en-US')} ${unit}`
}

/** What the GPUs drew; nothing if no driver told. */
export function energyLines({ pools, job }: Report): string[] {
  const told = pools.flatMap(({ energyJ }) => (energyJ === undefined ? [] : [energyJ]))
  if (told.length === 0) return []
  const joules = told.reduce((sum, each) => sum + each, 0)
  const ended = job.done + job.failed
  const each = ended > 0 ? `: ${wattHours((joules / ended) * 1_000)} for each 1,000 tasks` : ''
  const partly = pools.some(({ device, energyJ }) => device !== 'cpu' && energyJ === undefined)
  return [
    `GPUs drew ${wattHours(joules)}${each}.`,
    ...(partly ? ['Some GPUs are missing in it, as their driver does not tell.'] : []),
  ]
}

interface SiteHours {
  site: string
  kind: string
  ms: number
  usefulMs: number
  energyJ?: number
}

/** Slot time by site, GPUs apart from processors; and what the GPUs drew, where a driver told. */
export function siteHours(pools: readonly PoolTime[]): SiteHours[] {
  const sums = new Map<string, SiteHours>()
  for (const { site, device, spentMs, energyJ } of pools) {
    const kind = device === 'cpu' ? 'CPU slots' : 'GPU slots'
    const sum: SiteHours = sums.get(`${site} ${kind}`) ?? { site, kind, ms: 0, usefulMs: 0 }
    sums.set(`${site} ${kind}`, sum)
    sum.ms += totalOf(spentMs)
    sum.usefulMs += spentMs.inference
    if (energyJ !== undefined) sum.energyJ = (sum.energyJ ?? 0) + energyJ
  }
  return [...sums.values()]
}
