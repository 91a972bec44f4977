import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import * as echarts from 'echarts'

/** Lines over one horizontal axis; those marked `right` have a vertical axis of their own. */
export interface Chart {
  title: string
  x: { name: string; log?: boolean }
  lines: { name: string; points: [x: number, y: number][]; right?: boolean }[]
}

/** Draws a chart as an SVG file; makes its folder. */
export function writeChart(file: string, { title, x, lines }: Chart): void {
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 900, height: 450 })
  chart.setOption({
    animation: false,
    title: { text: title, left: 'center' },
    legend: { top: 30 },
    grid: { top: 80, left: 80, right: 80 },
    xAxis: { type: x.log ? 'log' : 'value', name: x.name, nameLocation: 'middle', nameGap: 28 },
    yAxis: [
      {
        type: 'value',
        name: lines
          .filter(({ right }) => !right)
          .map(({ name }) => name)
          .join(', '),
      },
      {
        type: 'value',
        name: lines
          .filter(({ right }) => right)
          .map(({ name }) => name)
          .join(', '),
      },
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
