import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ContextMode } from '../src/protocol/context.ts'
import { type Account, accountOf, kinds, ratioOf } from './bench-context/account.ts'
import { type PoolRun, runPool, type RunOptions } from './bench-context/pool.ts'
import { verifierContext } from './bench-context/verifier.ts'
import { generateClaims } from './claims.ts'
import { writeChart } from './support/chart.ts'

/*
 * What it is worth to keep a context: the same claims on the same pool of pilots, in the three context modes. Everything is
 * real: pilots, bytes over a (loopback) link, sessions created from them; a task is as many claims as make the ratio.
 *
 *   npm run bench:context                          the paper's ratio: rebuilding a context takes 2.75 times a task's inference
 *   npm run bench:context -- --evictions 1         the same with each pilot killed once
 *   npm run bench:context -- --ratio 0.1,0.3,1,3,10,30 --seconds 5      the curve
 *
 * --seconds: inference for each pilot; --svg DIR: plots.
 */

const { values } = parseArgs({
  options: {
    ratio: { type: 'string', default: '2.75' },
    seconds: { type: 'string', default: '30' },
    pilots: { type: 'string', default: '2' },
    evictions: { type: 'string', default: '0' },
    weights: { type: 'string', default: '32' },
    svg: { type: 'string' },
  },
})
const ratios = values.ratio.split(',').map(Number)
const pilots = Number(values.pilots)
const inference = Number(values.seconds) * pilots * 1000
const folder = await mkdtemp(join(tmpdir(), 'gleaner-bench-context-'))
const pool = {
  folder,
  pilots,
  context: verifierContext(Number(values.weights) << 20),
  evictions: Number(values.evictions) * pilots,
}
const claims = [...generateClaims({ split: 'held-out', count: 30_000 })].map(
  ({ evidence, claim }) => `${evidence} ${claim}`,
)

try {
  const rough = await measure({ ratio: 1, overheadMs: 500, claimMs: 1 }, 4)
  const points: Point[] = []
  const costs = await calibrate({ ...rough, ratio: ratios[0]! })
  for (const ratio of ratios) points.push(await compare({ ...costs, ratio }))
  if (points.length > 1) {
    console.table(points)
    if (values.svg !== undefined) plotCurve(values.svg, points)
  }
  console.log(JSON.stringify(points.length > 1 ? { curve: points } : points[0]))
} finally {
  await rm(folder, { recursive: true, force: true })
}

/** What is known of costs: to bring a context up, and to judge one claim; milliseconds. */
interface Costs {
  ratio: number
  overheadMs: number
  claimMs: number
}

function claimsPerTask({ ratio, overheadMs, claimMs }: Costs): number {
  return Math.max(1, Math.round(overheadMs / ratio / claimMs))
}

/** Tries sizes of a task until one gives the ratio; the costs are those of the last try. */
async function calibrate(costs: Costs): Promise<Costs> {
  for (let tries = 1; ; tries++) {
    const size = claimsPerTask(costs)
    const measured = await measure(costs, 10)
    const off = measured.overheadMs / measured.claimMs / size / costs.ratio - 1
    if (Math.abs(off) < 0.03 || tries === 4) return measured
    costs = measured
  }
}

/** Runs a few tasks for each pilot in mode none, and says what they cost. */
async function measure(costs: Costs, tasksPerPilot: number): Promise<Costs> {
  const size = claimsPerTask(costs)
  const run = await runPool({
    ...pool,
    mode: 'none',
    tasks: tasksOf(size, tasksPerPilot * pilots),
    evictions: 0,
  })
  const results = run.pilots.flatMap((pilot) => pilot.results)
  const taskMs = results.reduce((sum, { ms }) => sum + ms, 0) / results.length
  return { ratio: costs.ratio, overheadMs: ratioOf(run.pilots) * taskMs, claimMs: taskMs / size }
}

function tasksOf(size: number, count: number): string[][] {
  let next = 0
  const one = () => claims[next++ % claims.length]!
  return Array.from({ length: count }, () => Array.from({ length: size }, one))
}

/** One line of the curve: seconds from the submission to the last result by mode, and what follows from them. */
type Point = Record<'ratio' | 'none_s' | 'disk_s' | 'pervasive_s' | 'speedup' | 'ideal' | 'goodput', number>

async function compare(costs: Costs): Promise<Point> {
  const size = claimsPerTask(costs)
  const tasks = tasksOf(size, Math.max(2 * pilots, Math.round(inference / size / costs.claimMs)))
  const common: Omit<RunOptions, 'mode'> = { ...pool, tasks }
  console.log(
    `\n${tasks.length} tasks of ${size} claims on ${pilots} pilots, ${pool.evictions} evictions: a context takes ` +
      `${Math.round(costs.overheadMs)} ms to come up, a claim ${costs.claimMs.toFixed(1)} ms`,
  )
  const runs = {} as Record<ContextMode, PoolRun>
  for (const mode of ContextMode.options) {
    runs[mode] = await runPool({ ...common, mode })
    console.log(`${mode}: ${runs[mode].seconds.toFixed(1)} s`)
  }
  console.table(
    Object.fromEntries(ContextMode.options.map((mode) => [mode, describe(runs[mode], runs.none)])),
  )
  if (values.svg !== undefined) plot(values.svg, runs)
  const ratio = ratioOf(runs.none.pilots)
  return {
    ratio: hundredth(ratio),
    none_s: hundredth(runs.none.seconds),
    disk_s: hundredth(runs.disk.seconds),
    pervasive_s: hundredth(runs.pervasive.seconds),
    speedup: hundredth(runs.none.seconds / runs.pervasive.seconds),
    ideal: hundredth(1 + ratio),
    goodput: hundredth(shareOf(accountOf(runs.pervasive.pilots), 'inference')),
  }
}

function describe(run: PoolRun, none: PoolRun) {
  const account = accountOf(run.pilots)
  const shares = kinds.map((kind) => [kind, `${(100 * shareOf(account, kind)).toFixed(1)} %`])
  return {
    seconds: hundredth(run.seconds),
    speedup: hundredth(none.seconds / run.seconds),
    pilots: run.pilots.length,
    ...(Object.fromEntries(shares) as Record<keyof Account, string>),
  }
}

function shareOf(account: Account, kind: keyof Account): number {
  return account[kind] / kinds.reduce((sum, each) => sum + account[each], 0)
}

function plot(folder: string, runs: Record<ContextMode, PoolRun>): void {
  writeChart(`${folder}/context-claims.svg`, {
    title: 'Claims done',
    x: { name: 'seconds' },
    lines: ContextMode.options.map((name) => ({ name, points: runs[name].done })),
  })
  writeChart(`${folder}/context-pilots.svg`, {
    title: 'Pilots with a worker',
    x: { name: 'seconds' },
    lines: ContextMode.options.map((name) => ({ name, points: pilotsOver(runs[name]) })),
  })
}

function plotCurve(folder: string, points: Point[]): void {
  writeChart(`${folder}/context-curve.svg`, {
    title: 'Speedup of a context that is kept',
    x: { name: 'time to rebuild a context / inference of a task', log: true },
    lines: (['speedup', 'ideal'] as const).map((name) => ({
      name,
      points: points.map((point) => [point.ratio, point[name]]),
    })),
  })
}

/** Steps of the number of pilots whose worker is up. */
function pilotsOver({ pilots, startedAt }: PoolRun): [number, number][] {
  const changes = pilots
    .flatMap(({ registeredAt, endedAt }) =>
      registeredAt === undefined ? [] : [[registeredAt, 1] as const, [endedAt, -1] as const],
    )
    .sort(([a], [b]) => a - b)
  const points: [number, number][] = [[0, 0]]
  for (const [at, change] of changes) {
    const seconds = Math.max(0, (at - startedAt) / 1000)
    const before = points.at(-1)![1]
    points.push([seconds, before], [seconds, before + change])
  }
  return points
}

function hundredth(n: number): number {
  return Math.round(n * 100) / 100
}
