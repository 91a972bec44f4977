import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import { count, rate } from '../../../common/plain/quantity-text.ts'
import { onThemeChange, resolveColour } from '../colours.ts'
import type { Columns } from '../chart-history.ts'

const HEIGHT = 180
/** Between lines: half a pilot is none. */
const STEPS = Array.from({ length: 9 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power)).flat()
/** More series than this are summed up as one. */
const MOST_SERIES = 8

interface Props {
  title: string
  columns: Columns
  /** Changes when there is something new in the columns. */
  revision: number
  unit: string
  colourOf: (name: string) => string
  /** What a series is called. */
  nameOf?: (name: string) => string
}

/** Areas on top of each other, over time. */
export function StackedChart({ title, columns, revision, unit, colourOf, nameOf = (name) => name }: Props) {
  const holder = useRef<HTMLDivElement>(null)
  const chart = useRef<{ plot: uPlot; key: string }>(undefined)
  const names = namesOf(columns)

  useEffect(() => {
    const element = holder.current!
    const key = names.join('\n')
    if (chart.current?.key !== key) {
      chart.current?.plot.destroy()
      chart.current = { plot: make(element, names, colourOf), key }
    }
    chart.current.plot.setData(stack(columns, names))
  }, [revision])

  useEffect(() => {
    const element = holder.current!
    const resize = new ResizeObserver(() =>
      chart.current?.plot.setSize({ width: element.clientWidth, height: HEIGHT }),
    )
    resize.observe(element)
    // Colours are those of the theme at the time a chart is made.
    const repaint = () => {
      chart.current?.plot.destroy()
      chart.current = undefined
    }
    const stop = onThemeChange(repaint)
    return () => {
      resize.disconnect()
      stop()
      repaint()
    }
  }, [])

  const last = (name: string) => columns.values.get(name)?.at(-1) ?? 0
  const total = names.reduce((sum, name) => sum + valueOf(columns, names, name).at(-1)!, 0)
  return (
    <figure>
      <figcaption>
        <h2>{title}</h2> <span class="figure">{rate(total)}</span> <span class="dim">{unit}</span>
      </figcaption>
      <div
        ref={holder}
        class="plot"
        role="img"
        aria-label={`${title} over time; now ${rate(total)} ${unit}`}
      />
      <ul class="legend">
        {names.map((name) => (
          <li key={name}>
            <span class="swatch" style={{ background: colourOf(name) }} />
            {name === REST ? name : nameOf(name)}{' '}
            <span class="dim">
              {count(
                Number((name === REST ? valueOf(columns, names, name).at(-1)! : last(name)).toPrecision(3)),
              )}
            </span>
          </li>
        ))}
      </ul>
    </figure>
  )
}

const REST = 'others'

/** The names that have a series of their own: those that have most now, the others are one. */
function namesOf({ values }: Columns): string[] {
  const all = [...values.keys()]
  if (all.length <= MOST_SERIES) return all
  const biggest = all.toSorted((a, b) => values.get(b)!.at(-1)! - values.get(a)!.at(-1)!)
  return [...biggest.slice(0, MOST_SERIES - 1).sort(), REST]
}

function valueOf({ values, times }: Columns, names: string[], name: string): number[] {
  if (name !== REST || values.has(REST)) return values.get(name) ?? times.map(() => 0)
  const rest = [...values].filter(([other]) => !names.includes(other)).map(([, column]) => column)
  return times.map((_, i) => rest.reduce((sum, column) => sum + column[i]!, 0))
}

/** The upper edge of each area. The last name lies at the bottom, so that a band is between a series and the next. */
function stack(columns: Columns, names: string[]): uPlot.AlignedData {
  const sums = columns.times.map(() => 0)
  const edges = names.toReversed().map((name) => {
    const column = valueOf(columns, names, name)
    for (let i = 0; i < sums.length; i++) sums[i]! += column[i]!
    return [...sums]
  })
  return [columns.times, ...edges.reverse()]
}

function make(element: HTMLElement, names: string[], colourOf: (name: string) => string): uPlot {
  const [ink, line] = [resolveColour(element, 'var(--dim)'), resolveColour(element, 'var(--line)')]
  const axis = {
    stroke: ink,
    grid: { stroke: line, width: 1 },
    ticks: { show: false },
    font: '11px system-ui',
  }
  return new uPlot(
    {
      width: Math.max(200, element.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      padding: [8, 8, 0, 0],
      scales: { y: { range: (_, _min, max) => [0, Math.max(1, max * 1.05)] } },
      axes: [
        {
          ...axis,
          size: 28,
          space: 70,
          values: (_plot, times, _axis, _space, step) => times.map((time) => clock(time, step < 60)),
        },
        { ...axis, size: 44, space: 36, incrs: STEPS, values: (_, ticks) => ticks.map(short) },
      ],
      series: [{}, ...names.map((name) => series(resolveColour(element, colourOf(name))))],
      bands: names.slice(1).map((_, i) => ({ series: [i + 1, i + 2] as [number, number] })),
    },
    [[]],
    element,
  )
}

const series = (colour: string): uPlot.Series => ({
  stroke: colour,
  fill: `color-mix(in srgb, ${colour} 55%, transparent)`,
  width: 1,
  points: { show: false },
})

/** A time of day. */
function clock(time: number, withSeconds: boolean): string {
  return new Date(time * 1000).toLocaleTimeString('en-GB', {
    hour: '2-digit',
    minute: '2-digit',
    ...(withSeconds && { second: '2-digit' }),
  })
}

/** `1500` as `1.5k`. */
function short(value: number): string {
  if (value >= 1e6) return `${value / 1e6}M`
  return value >= 1e4 ? `${value / 1e3}k` : count(value)
}
