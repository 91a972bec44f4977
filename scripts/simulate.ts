import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { explain } from '../src/protocol/primitives.ts'
import { type PoolResult, runPool, Scenario } from './simulation/run-pool.ts'
import { writeChart } from './support/chart.ts'

/*
 * The real scheduler and scaling policies on a virtual clock: what a pool would give, and what the scheduler costs.
 *
 *   npm run simulate                          the paper's three settings
 *   npm run simulate -- --scenario FILE       a pool of your own
 *   npm run simulate -- --scale               10 to 10,000 pilots, 10,000,000 inferences at the most
 */

const { values } = parseArgs({
  options: {
    scenario: { type: 'string', multiple: true },
    scale: { type: 'boolean', default: false },
    svg: { type: 'string' },
  },
})

const here = (name: string) => fileURLToPath(new URL(`./simulation/scenarios/${name}.json`, import.meta.url))
/** Minutes that the paper reports. */
const paper: Record<string, number> = {
  'paper-rebuilt-per-task': 180,
  'paper-retained': 48,
  'paper-opportunistic': 13,
}

if (values.scale) scale()
else compare(values.scenario ?? Object.keys(paper).map(here))

function compare(files: string[]): void {
  const runs = files.map((file) => ({ name: basename(file, '.json'), scenario: read(file) }))
  const results = runs.map(({ name, scenario }) => ({ name, scenario, result: runPool(scenario) }))
  console.table(
    Object.fromEntries(
      results.map(({ name, scenario, result }) => [
        scenario.title,
        {
          minutes: tenth(result.seconds / 60),
          ...(paper[name] ? { paper: paper[name] } : {}),
          ...summary(result),
        },
      ]),
    ),
  )
  if (values.svg !== undefined)
    for (const { name, scenario, result } of results) plot(name, scenario.title, result)
  const minutes = results.map(({ name, result }) => [name, tenth(result.seconds / 60)])
  console.log(JSON.stringify(Object.fromEntries(minutes)))
}

function summary({ pilots, evictions, spent }: PoolResult) {
  const all = Object.values(spent).reduce((sum, seconds) => sum + seconds, 0)
  const share = (seconds: number) => `${tenth((100 * seconds) / all)} %`
  return {
    pilots,
    evictions,
    inference: share(spent.inference),
    load: share(spent.load),
    fetch: share(spent.fetch),
    boot: share(spent.boot),
    lost: share(spent.lost),
    idle: share(spent.idle),
  }
}

/** Cost of the scheduler for each task, as the pool grows a thousandfold and each pilot keeps its share of the work. */
function scale(): void {
  const rows: { pilots: number; inferences: number; 'us/task': number; seconds: number }[] = []
  for (const pilots of [10, 30, 100, 300, 1_000, 3_000, 10_000]) {
    const startedAt = performance.now()
    const inferences = pilots * 1_000
    const { coreMs } = runPool(
      Scenario.parse({
        title: `${pilots} pilots`,
        job: { inferences },
        context: { bytes: 7.4e9, load: 30 },
        link: { node: 1.25e9, source: 10e9 },
        gpus: [
          { kind: 'fast', count: pilots / 2, rate: 4 },
          { kind: 'slow', count: pilots / 2, rate: 1.2 },
        ],
        evictions: { mean: 3_600 },
        pilots: { policy: 'fixed', count: pilots, max: pilots, submitSize: 1_000 },
      }),
    )
    const seconds = tenth((performance.now() - startedAt) / 1000)
    rows.push({ pilots, inferences, 'us/task': tenth((coreMs * 1000) / inferences), seconds })
  }
  console.table(rows)
  if (values.svg !== undefined) {
    writeChart(`${values.svg}/scale.svg`, {
      title: 'Scheduler time per task',
      x: { name: 'pilots', log: true },
      y: { name: 'microseconds' },
      lines: [{ name: 'measured', marks: true, points: rows.map((row) => [row.pilots, row['us/task']]) }],
    })
  }
  console.log(JSON.stringify({ rows }))
}

function plot(name: string, title: string, { points }: PoolResult): void {
  writeChart(`${values.svg!}/${name}.svg`, {
    title,
    x: { name: 'minutes' },
    y: { name: 'pilots', whole: true },
    lines: [
      { name: 'pilots', points: points.map(({ at, pilots }) => [at / 60, pilots]) },
      { name: 'inferences done', points: points.map(({ at, done }) => [at / 60, done]), right: true },
    ],
  })
}

function read(file: string): Scenario {
  const parsed = Scenario.safeParse(JSON.parse(readFileSync(file, 'utf8')))
  if (parsed.success) return parsed.data
  console.error(`${file}: ${explain(parsed.error)}`)
  process.exit(2)
}

function tenth(n: number): number {
  return Math.round(n * 10) / 10
}
