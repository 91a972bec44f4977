import type { RunProgress, Status } from '../../../client/index.ts'
import { oneLine } from '../../exit/failure.ts'
import { count, duration, plural, rate } from '../format.ts'
import { cut } from '../text-width.ts'

/** All that the progress of a run shows. */
export interface RunView {
  progress: RunProgress
  /** What the factory said last. */
  status: Status | undefined
  /** Results per second. */
  rate: number
  /** Why nothing may be moving, e.g. that the factory cannot be reached. */
  notice: string | undefined
}

const BAR = 24
/** Characters of a site's reason that are shown: "factory status" has the rest. */
const REASON = 160

/** The progress of a run as two lines of at most `width` characters. */
export function progressLines(view: RunView, width: number): string[] {
  return [headline(view), details(view)].map((line) => cut(line, width))
}

/** The same as one line for a log. */
export function progressLine(view: RunView): string {
  return [headline(view), details(view)].filter(Boolean).join('  ·  ')
}

function headline({ progress, rate: perSecond }: RunView): string {
  const { phase, input, done, failed, submitted } = progress
  if (phase === 'checking' || !input) return 'reading the input'
  const finished = done + failed
  const total = Math.max(input.tasks, progress.job?.tasks ?? 0)
  const left = total - finished
  const parts = [
    `${bar(finished / total)} ${Math.floor((100 * finished) / total)} %`,
    `${count(finished)} of ${count(total)}`,
    `${rate(perSecond)}/s`,
  ]
  if (left > 0 && perSecond > 0) parts.push(`${duration(Math.ceil(left / perSecond) * 1000)} left`)
  if (failed > 0) parts.push(`${count(failed)} failed`)
  if (phase === 'submitting') parts.push(`${count(submitted)} submitted`)
  return parts.join('  ')
}

/** How much of something is done, drawn; `share` from 0 to 1. */
export function bar(share: number): string {
  const full = Math.round(share * BAR)
  return '█'.repeat(full) + '░'.repeat(BAR - full)
}

function details({ progress, status, notice }: RunView): string {
  if (notice !== undefined) return oneLine(notice)
  const doubt = progress.job?.doubt
  if (doubt !== undefined) return oneLine(doubt)
  if (!status) return ''
  const sites = status.sites.map(({ running, pending, held, wanted, name }) => {
    const waiting = [pending && `${pending} pending`, held && `${held} held`].filter(Boolean)
    return `${name}: ${running} of ${plural(wanted, 'pilot')}${waiting.length > 0 ? ` (${waiting.join(', ')})` : ''}`
  })
  const context = progress.job?.context
  const held = context === undefined ? [] : [`${context}: ${levels(status, context)}`]
  const troubles = status.sites.flatMap(({ name, paused, lastFailure }) => {
    const why = paused ?? lastFailure
    return why === undefined ? [] : { name, why: cut(oneLine(why), REASON) }
  })
  const byReason = Map.groupBy(troubles, ({ why }) => why)
  const reasons = [...byReason].map(([why, at]) => `${at.map(({ name }) => name).join(', ')}: ${why}`)
  return [...sites, ...held, ...reasons].join('  ·  ')
}

/** How workers hold a context, e.g. `2 memory, 1 loading`. */
function levels({ workers }: Status, context: string): string {
  const counts = new Map<string, number>()
  for (const worker of workers) {
    const report = worker.contexts.find((candidate) => candidate.context === context)
    const level = report?.error ? 'failed' : (report?.doing ?? report?.level ?? 'absent')
    counts.set(level, (counts.get(level) ?? 0) + 1)
  }
  return [...counts].map(([level, number]) => `${number} ${level}`).join(', ') || 'on no worker yet'
}
