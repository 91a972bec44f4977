import type { Status } from '../../client/index.ts'
import type { Reason } from '../../protocol/explanation.ts'
import { oneLine } from '../exit/failure.ts'
import { count, duration, rate } from '../views/format.ts'
import { columnWidths, cut, pad, textWidth } from '../views/text-width.ts'
import { toTerminal } from '../views/terminal.ts'
import type { Line } from './screen.ts'
import { COLUMNS, TABS, type Tab, type TopState } from './state.ts'

/** What there is to show. */
export interface TopData {
  status: Status
  /** Why what is shown by itself stands as it does. */
  explanation?: { summary: string; reasons: Reason[] } | undefined
  /** Why nothing may be changing. */
  notice?: string | undefined
}

/** A row of a list: what it stands for, its cells, and what each is sorted by. */
interface Row {
  id: string
  cells: string[]
  keys: (string | number)[]
}

const KEYS = '1-3 lists  ↑↓ choose  ⏎ open  ⌫ back  s sort  r reverse  / filter  q quit'

/** What stands between the columns of a list. */
const BETWEEN = '  '

/** The rows of the list that is looked at, filtered and sorted. */
export function rowsOf({ tab, sort, descending, filter }: TopState, status: Status): Row[] {
  const wanted = filter.toLowerCase()
  const rows = lists[tab](status).filter(({ cells }) =>
    cells.some((cell) => cell.toLowerCase().includes(wanted)),
  )
  const direction = descending ? -1 : 1
  return rows.sort((a, b) => direction * compare(a.keys[sort]!, b.keys[sort]!))
}

function compare(a: string | number, b: string | number): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b
  return String(a).localeCompare(String(b), 'en', { numeric: true })
}

/** The whole screen as lines. Tables are as wide as it is, if they can be; other lines may be wider. */
export function topLines(state: TopState, data: TopData, rows: number, columns: number): Line[] {
  const { status, notice } = data
  const listed = rowsOf(state, status)
  const body =
    state.detail === undefined ? list(state, listed, rows - 3, columns) : detail(state, data, columns)
  const lines = [headline(status), bar(state, listed.length), ...body].slice(0, rows - 1)
  while (lines.length < rows - 1) lines.push({ text: '' })
  lines.push(
    notice === undefined ? { text: KEYS, style: 'faint' } : { text: oneLine(notice), style: 'heading' },
  )
  return lines.map(({ text, ...rest }) => ({
    text: oneLine(toTerminal(text)) === '' ? '' : toTerminal(text).replaceAll('\n', ' '),
    ...rest,
  }))
}

function headline({ tasks, rate: perSecond, version, now, startedAt, evictions, lost }: Status): Line {
  const gone = evictions + lost > 0 ? `  ${count(evictions)} evictions, ${count(lost)} lost` : ''
  return {
    text:
      `${rate(perSecond)}/s  ${count(tasks.queued)} wait  ${count(tasks.leased)} run  ${count(tasks.done)} done  ` +
      `${count(tasks.failed)} failed${gone}  up ${duration(now - startedAt)}  ${version}`,
  }
}

function bar({ tab, detail, sort, descending, filter, typing }: TopState, found: number): Line {
  const tabs = TABS.map((each, i) => (each === tab ? `[${i + 1} ${each}]` : ` ${i + 1} ${each} `)).join('')
  if (detail !== undefined) return { text: `${tabs}  ${detail}` }
  const by = `by ${COLUMNS[tab][sort]}${descending ? ' ↓' : ' ↑'}`
  const only = typing ? `  /${filter}_` : filter === '' ? '' : `  /${filter}`
  return { text: `${tabs}  ${count(found)}  ${by}${only}` }
}

function list(
  { tab, row }: Pick<TopState, 'tab' | 'row'>,
  rows: Row[],
  room: number,
  columns: number,
): Line[] {
  const headings: readonly string[] = COLUMNS[tab]
  const natural = headings.map((heading, i) =>
    Math.max(heading.length, ...rows.map(({ cells }) => textWidth(cells[i]!))),
  )
  const widths = columnWidths(natural, columns - BETWEEN.length * (headings.length - 1))
  const text = (cells: readonly string[]) =>
    cells.map((cell, i) => pad(cut(cell, widths[i]!), widths[i]!)).join(BETWEEN)
  const chosen = Math.min(row, Math.max(0, rows.length - 1))
  const first = Math.max(0, Math.min(chosen - Math.floor(room / 2), rows.length - room + 1))
  const shown = rows.slice(first, first + room - 1)
  return [
    { text: text(headings), style: 'heading' },
    ...shown.map(({ cells }, i): Line =>
      first + i === chosen ? { text: text(cells), style: 'selected' } : { text: text(cells) },
    ),
  ]
}

const lists: Record<Tab, (status: Status) => Row[]> = {
  jobs: ({ jobs }) =>
    jobs.map(({ id, name, context, state, done, failed, tasks, problem }) => ({
      id: String(id),
      cells: [
        String(id),
        name,
        context,
        problem === undefined ? state : 'stuck',
        count(done),
        count(failed),
        count(tasks),
      ],
      keys: [id, name, context, state, done, failed, tasks],
    })),
  sites: ({ sites }) =>
    sites.map(({ name, kind, policy, wanted, pending, running, held, paused, lastFailure, reasons }) => {
      const why = oneLine(paused ?? lastFailure ?? reasons[0]?.reason ?? '')
      return {
        id: name,
        cells: [name, kind, policy, count(wanted), count(pending), count(running), count(held), why],
        keys: [name, kind, policy, wanted, pending, running, held, why],
      }
    }),
  workers: ({ workers }) =>
    workers.map(({ id, site, node, state, rate: speed, leased, oldestMs, contexts }) => {
      const held = contexts
        .map(({ context, level, doing, error }) => `${context} ${error ? 'failed' : (doing ?? level)}`)
        .join(', ')
      return {
        id,
        cells: [
          id,
          site,
          node,
          state,
          `${rate(speed)}/s`,
          count(leased),
          oldestMs === undefined ? '' : duration(oldestMs),
          held,
        ],
        keys: [id, site, node, state, speed, leased, oldestMs ?? -1, held],
      }
    }),
}

/** What is known of one job, site or worker. */
function detail(state: TopState, { status, explanation }: TopData, columns: number): Line[] {
  const id = state.detail!
  const row = lists[state.tab](status).find((each) => each.id === id)
  if (!row) return [{ text: '' }, { text: `${id} is not there any more` }]
  const fields = COLUMNS[state.tab].map((heading, i): Line => ({
    text: `${heading.padEnd(10)}${row.cells[i]}`,
  }))
  const why = explanation ? [{ text: '' }, ...explanation.reasons.flatMap(reasonLines)] : []
  return [...fields, ...why, ...workersOf(state, status, id, columns)]
}

const reasonLines = ({ text, advice }: Reason): Line[] => [
  { text: `- ${oneLine(text)}` },
  ...(advice === undefined ? [] : [{ text: `  ${oneLine(advice)}`, style: 'faint' as const }]),
]

/** Workers that belong to it. */
function workersOf({ tab }: TopState, status: Status, id: string, columns: number): Line[] {
  if (tab === 'workers') return []
  const context = status.jobs.find((job) => String(job.id) === id)?.context
  const ids = status.workers
    .filter(({ site, contexts }) =>
      tab === 'sites' ? site === id : contexts.some((each) => each.context === context),
    )
    .map((worker) => worker.id)
  const rows = lists.workers(status).filter((row) => ids.includes(row.id))
  return rows.length === 0
    ? []
    : [{ text: '' }, ...list({ tab: 'workers', row: -1 }, rows, rows.length + 1, columns)]
}
