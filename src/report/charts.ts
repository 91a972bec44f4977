import { escapeHtml } from './escape-html.ts'
import type { Step } from './make-report.ts'

/* Charts as SVG, for a page that stands alone: no script, and colours that the page's styles set. */

const SIZE = { width: 960, height: 260, left: 64, right: 12, top: 12, bottom: 32 }
const PLOT = { width: SIZE.width - SIZE.left - SIZE.right, height: SIZE.height - SIZE.top - SIZE.bottom }
/** Points of one line: more cannot be told apart. */
const MAX_POINTS = 480
/** Series that are told apart; the smallest of more are one. */
const MAX_SERIES = 8

export interface TimeChart {
  /** What it shows, for those who do not see it. */
  title: string
  unit: string
  from: number
  to: number
  steps: readonly Step[]
  /** Series by name, the lowest first. Default: by size. */
  order?: readonly string[]
  /** Class of each series, if it has a colour of its own. */
  classes?: Readonly<Record<string, string>>
}

const classOf = ({ classes }: TimeChart, name: string, i: number) => classes?.[name] ?? `s${i}`

/** A stack of what holds at each time. */
export function stackedChart(chart: TimeChart): string {
  const names = chart.order ?? namesBySize(chart)
  const columns = sampled(chart, names)
  const most = niceMost(
    Math.max(...columns.map(({ values }) => values.reduce((sum, value) => sum + value, 0)), 0),
  )
  const areas = names.map((name, i) => {
    const base = (column: Column, to: number) =>
      column.values.slice(0, to).reduce((sum, value) => sum + value, 0)
    const edge = (to: number) => columns.map((column) => point(column.x, base(column, to) / most))
    const path = `M${edge(i + 1).join('L')}L${edge(i).reverse().join('L')}Z`
    return `<path class="${classOf(chart, name, i)}" d="${path}"><title>${escapeHtml(name)}</title></path>`
  })
  return frame(chart, most, areas.join(''), names)
}

/** What one series comes to over time, such as the tasks that are done. */
export function lineChart(chart: TimeChart & { order: readonly string[] }): string {
  const points = chart.steps.map(({ at, values }) => ({
    x: (at - chart.from) / (chart.to - chart.from),
    values: chart.order.map((name) => values[name] ?? 0),
  }))
  const shown = thinned(points)
  const most = niceMost(Math.max(...shown.flatMap(({ values }) => values), 0))
  const lines = chart.order.map((name, i) => {
    const path = shown.map(({ x, values }) => point(x, values[i]! / most)).join('L')
    return `<path class="l${i}" d="M${path}"><title>${escapeHtml(name)}</title></path>`
  })
  return frame(chart, most, lines.join(''), chart.order)
}

export interface Bar {
  name: string
  parts: { name: string; value: number; label: string; class: string }[]
}

/** Bars of one length, each divided into its parts. */
export function barChart(title: string, bars: readonly Bar[]): string {
  const height = bars.length * 34 + 8
  const left = 220
  const width = SIZE.width - left - SIZE.right
  const rows = bars.map(({ name, parts }, row) => {
    const total = parts.reduce((sum, { value }) => sum + value, 0) || 1
    let x = left
    const rects = parts.map((part) => {
      const length = (part.value / total) * width
      const share = `${((part.value / total) * 100).toFixed(length > 0 && part.value / total < 0.1 ? 1 : 0)} %`
      const text =
        length > 90
          ? `<text x="${fixed(x + 6)}" y="${row * 34 + 21}" class="in">${escapeHtml(part.name)} ${share}</text>`
          : ''
      const rect = `<rect class="${part.class}" x="${fixed(x)}" y="${row * 34 + 4}" width="${fixed(length)}" height="26"><title>${escapeHtml(`${part.name}: ${part.label} (${share})`)}</title></rect>`
      x += length
      return rect + text
    })
    const shown = name.length > 30 ? `${name.slice(0, 29)}…` : name
    return `<text x="${left - 10}" y="${row * 34 + 21}" text-anchor="end">${escapeHtml(shown)}</text>${rects.join('')}`
  })
  return `<svg viewBox="0 0 ${SIZE.width} ${height}" role="img" aria-label="${escapeHtml(title)}">${rows.join('')}</svg>`
}

interface Column {
  x: number
  values: number[]
}

/** The values in force at evenly spaced times. */
function sampled({ steps, from, to, order }: TimeChart, names: readonly string[]): Column[] {
  const known = new Set(order ?? names)
  let next = 0
  let values = names.map(() => 0)
  return Array.from({ length: MAX_POINTS + 1 }, (_, i) => {
    const at = from + ((to - from) * i) / MAX_POINTS
    for (; next < steps.length && steps[next]!.at <= at; next++) {
      const held = steps[next]!.values
      const rest = Object.entries(held).reduce((sum, [name, value]) => sum + (known.has(name) ? 0 : value), 0)
      values = names.map((name) => held[name] ?? (name === OTHERS ? rest : 0))
    }
    return { x: i / MAX_POINTS, values }
  })
}

const OTHERS = 'others'

function namesBySize({ steps }: TimeChart): string[] {
  const most = new Map<string, number>()
  for (const { values } of steps)
    for (const [name, value] of Object.entries(values)) most.set(name, Math.max(most.get(name) ?? 0, value))
  const names = [...most].filter(([, value]) => value > 0).sort(([, a], [, b]) => b - a)
  const shown = names.slice(0, MAX_SERIES - 1).map(([name]) => name)
  return names.length < MAX_SERIES ? names.map(([name]) => name) : [...shown, OTHERS]
}

function thinned<T>(points: readonly T[]): T[] {
  const every = Math.ceil(points.length / MAX_POINTS)
  return points.filter((_, i) => i % every === 0 || i === points.length - 1)
}

function frame(chart: TimeChart, most: number, inside: string, names: readonly string[]): string {
  const { title, unit, from, to } = chart
  const lines = [0, 0.25, 0.5, 0.75, 1].map((part) => {
    const y = fixed(SIZE.top + PLOT.height * (1 - part))
    const label = Number((most * part).toPrecision(3)).toLocaleString('en-US')
    return `<line x1="${SIZE.left}" x2="${SIZE.left + PLOT.width}" y1="${y}" y2="${y}"/><text x="${SIZE.left - 8}" y="${Number(y) + 4}" text-anchor="end">${label}</text>`
  })
  const times = timeTicks(to - from).map(({ ms, label }) => {
    const x = fixed(SIZE.left + (PLOT.width * ms) / (to - from))
    return `<text x="${x}" y="${SIZE.height - 10}" text-anchor="middle">${label}</text>`
  })
  const legend = names
    .map((name, i) => `<li class="${classOf(chart, name, i)}">${escapeHtml(name)}</li>`)
    .join('')
  return (
    `<svg viewBox="0 0 ${SIZE.width} ${SIZE.height}" role="img" aria-label="${escapeHtml(`${title}, ${unit}`)}">` +
    `<g class="grid">${lines.join('')}${times.join('')}</g>${inside}</svg><ul class="legend">${legend}</ul>`
  )
}

const point = (x: number, y: number) =>
  `${fixed(SIZE.left + PLOT.width * Math.min(1, Math.max(0, x)))},${fixed(SIZE.top + PLOT.height * (1 - Math.min(1, y)))}`

const fixed = (value: number) => value.toFixed(1)

/** The least round number that is no smaller. */
export function niceMost(value: number): number {
  if (!(value > 0)) return 1
  const power = 10 ** Math.floor(Math.log10(value))
  return [1, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value)!
}

/** Round times since the start, in the unit that suits the whole. */
export function timeTicks(whole: number): { ms: number; label: string }[] {
  const [size, unit] =
    whole >= 4 * 3_600_000 ? [3_600_000, 'h'] : whole >= 240_000 ? [60_000, 'min'] : [1_000, 's']
  const step = niceMost(whole / size / 6)
  const ticks = Math.floor(whole / size / step) + 1
  return Array.from({ length: ticks }, (_, i) => {
    const value = Number((i * step).toPrecision(6))
    return { ms: value * size, label: `${value.toLocaleString('en-US')} ${unit}` }
  })
}
