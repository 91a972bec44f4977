import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import * as echarts from 'echarts'

/** Lines over one horizontal axis; those marked `right` have a vertical axis of their own. */
export interface Chart {
  title: string
  x: { name: string; log?: boolean }
  y?: { log?: boolean }
  lines: { name: string; points: [x: number, y: number][]; right?: boolean }[]
}

/** Draws a chart as an SVG file; makes its folder. */
export function writeChart(file: string, { title, x, y, lines }: Chart): void {
  const right = lines.filter((line) => line.right)
  const left = lines.filter((line) => !line.right)
  // With one axis, the title and the legend say what it is.
  const nameOf = (side: Chart['lines']) => (right.length > 0 ? side.map(({ name }) => name).join(', ') : '')
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 900, height: 450 })
  chart.setOption({
    animation: false,
    title: { text: title, left: 'center' },
    legend: { top: 34 },
    grid: { top: 80, left: 80, right: 80, bottom: 60 },
    xAxis: { type: x.log ? 'log' : 'value', name: x.name, nameLocation: 'middle', nameGap: 28 },
    yAxis: [
      // Its marks double: a plot of ratios seldom spans many powers of ten.
      { type: y?.log ? 'log' : 'value', logBase: 2, name: nameOf(left) },
      { type: 'value', name: nameOf(right), show: right.length > 0, splitLine: { show: false } },
    ],
    series: lines.map(({ name, points, right }) => ({
      type: 'line',
      name,
      data: points,
      yAxisIndex: right ? 1 : 0,
      showSymbol: points.length < 20,
    })),
  })
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, chart.renderToSVGString())
  chart.dispose()
}
