import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import * as echarts from 'echarts'

/** Lines over one horizontal axis; those marked `right` have a vertical axis of their own. */
export interface Chart {
  title: string
  x: { name: string; log?: boolean }
  /** The left axis: what it counts, with its unit; in a logarithmic one the marks double. */
  y: { name: string; log?: boolean; whole?: boolean }
  /** `marks`: each point was measured, and is shown. */
  lines: { name: string; points: [x: number, y: number][]; right?: boolean; marks?: boolean }[]
}

/** Draws a chart as an SVG file; makes its folder. */
export function writeChart(file: string, { title, x, y, lines }: Chart): void {
  const right = lines.filter((line) => line.right).map(({ name }) => name)
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 900, height: 450 })
  chart.setOption({
    animation: false,
    title: { text: title, left: 'center' },
    legend: { top: 34, itemGap: 24 },
    grid: { top: 80, left: 80, right: 80, bottom: 60 },
    xAxis: { type: x.log ? 'log' : 'value', name: x.name, nameLocation: 'middle', nameGap: 28 },
    yAxis: [
      // Marks that double: a plot of ratios seldom spans many powers of ten.
      { type: y.log ? 'log' : 'value', logBase: 2, name: y.name, ...(y.whole && { minInterval: 1 }) },
      { type: 'value', name: right.join(', '), show: right.length > 0, splitLine: { show: false } },
    ],
    series: lines.map(({ name, points, right, marks = false }) => ({
      type: 'line',
      name,
      data: points,
      yAxisIndex: right ? 1 : 0,
      showSymbol: marks,
      symbolSize: 7,
    })),
  })
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, chart.renderToSVGString())
  chart.dispose()
}
