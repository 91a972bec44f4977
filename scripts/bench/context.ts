import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ContextMode } from '../../src/protocol/contexts/context.ts'
import { type Account, accountOf, kinds, ratioOf } from './context/pilot-time-account.ts'
import { type PoolRun, runPool } from './context/run-pilot-pool.ts'
import { verifierContext } from './context/large-weights-context.ts'
import { generateClaims } from '../generate-claims.ts'
import { writeChart } from '../support/chart.ts'

/*
 * What it is worth to keep a context: the same claims on the same pool of pilots, in the three context modes. Everything is
 * real: pilots, bytes over a (loopback) link, sessions created from them; a task is as many claims as make the ratio.
 *
 *   npm run bench:context                          the paper's ratio: rebuilding a context takes 2.75 times a task's inference
 *   npm run bench:context -- --evictions 1         the same with each pilot killed once
 *   npm run bench:context -- --ratio 0.1,0.3,1,3,10,30    the curve, of the first and the last mode, in five minutes
 *
 * --seconds: inference for each pilot, 30 if not given, or in a curve as long as leaves time for the others; --svg DIR: plots.
 */

const { values } = parseArgs({
  options: {
    ratio: { type: 'string', default: '2.75' },
    seconds: { type: 'string' },
    pilots: { type: 'string', default: '2' },
    evictions: { type: 'string', default: '0' },
    weights: { type: 'string', default: '32' },
    svg: { type: 'string' },
  },
})
/** How far the ratio of a run may be off. */
const TOLERANCE = 0.05
const ratios = values.ratio.split(',').map(Number)
const pilots = Number(values.pilots)
const isCurve = ratios.length > 1
const modes = ContextMode.options.filter((mode) => !isCurve || mode !== 'disk')
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
  const points: Point[] = []
  const rough = await measure({ ratio: 1, overheadMs: 500, claimMs: 1 }, 4)
  // The ratio of each point of a curve is measured with the point: it need not be met.
  let costs = await (isCurve ? measure(rough, 10) : calibrate({ ...rough, ratio: ratios[0]! }))
  for (const ratio of ratios) {
    const rebuilt = await (isCurve ? rebuild({ ...costs, ratio }) : rebuildAt({ ...costs, ratio }))
    points.push(await compare(rebuilt))
    // Costs change with the size of tasks, so that the last ones found are the best guess.
    costs = rebuilt.costs
  }
  if (isCurve) {
    console.table(points)
    if (values.svg !== undefined) plotCurve(values.svg, points)
  }
  console.log(JSON.stringify(isCurve ? { curve: points } : points[0]))
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

/** Tries sizes of a task until they settle on the ratio. One try is a small sample, so that their mean is what counts. */
async function calibrate({ ratio, ...guess }: Costs): Promise<Costs> {
  const tries: Costs[] = []
  for (let costs = { ratio, ...guess }; ;) {
    const size = claimsPerTask(costs)
    tries.push(await measure(costs, 10))
    const mean = (of: 'overheadMs' | 'claimMs') => tries.reduce((sum, one) => sum + one[of], 0) / tries.length
    costs = { ratio, overheadMs: mean('overheadMs'), claimMs: mean('claimMs') }
    const settled = tries.length > 1 && Math.abs(claimsPerTask(costs) / size - 1) < 0.02
    if (settled || tries.length === 4) return costs
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
  return { ratio: costs.ratio, ...costsIn(run, size) }
}

function costsIn({ pilots }: PoolRun, size: number): Omit<Costs, 'ratio'> {
  const results = pilots.flatMap((pilot) => pilot.results)
  const taskMs = results.reduce((sum, { ms }) => sum + ms, 0) / results.length
  return { overheadMs: ratioOf(pilots) * taskMs, claimMs: taskMs / size }
}

function tasksOf(size: number, count: number): string[][] {
  let next = 0
  const one = () => claims[next++ % claims.length]!
  return Array.from({ length: count }, () => Array.from({ length: size }, one))
}

/** Inference for each pilot: enough for what a pilot does once to be small against it, and for a curve in five minutes. */
function inferenceSeconds(ratio: number): number {
  if (values.seconds !== undefined) return Number(values.seconds)
  return isCurve ? Math.min(6, Math.max(2, 44 / (2 + ratio))) : 30
}

/** Tasks that were run in mode none, and what they have cost. */
interface Rebuilt {
  tasks: string[][]
  none: PoolRun
  costs: Costs
}

/** Runs the tasks in mode none; once more if the costs have changed so much since that the ratio is missed. */
async function rebuildAt(costs: Costs): Promise<Rebuilt> {
  const first = await rebuild(costs)
  const off = ratioOf(first.none.pilots) / costs.ratio - 1
  return Math.abs(off) <= TOLERANCE ? first : await rebuild(first.costs)
}

async function rebuild(costs: Costs): Promise<Rebuilt> {
  const size = claimsPerTask(costs)
  const inferenceMs = inferenceSeconds(costs.ratio) * pilots * 1000
  // As many for each pilot: what is measured is not how an odd one is shared.
  const tasksPerPilot = Math.max(2, Math.round(inferenceMs / size / costs.claimMs / pilots))
  const tasks = tasksOf(size, tasksPerPilot * pilots)
  console.log(
    `\n${tasks.length} tasks of ${size} claims on ${pilots} pilots, ${pool.evictions} evictions: a context takes ` +
      `${Math.round(costs.overheadMs)} ms to come up, a claim ${costs.claimMs.toFixed(2)} ms`,
  )
  const none = await runMode('none', tasks)
  return { tasks, none, costs: { ratio: costs.ratio, ...costsIn(none, size) } }
}

async function runMode(mode: ContextMode, tasks: string[][]): Promise<PoolRun> {
  const run = await runPool({ ...pool, tasks, mode })
  console.log(`${mode}: ${run.seconds.toFixed(1)} s`)
  return run
}

/** One point of the curve: seconds from the submission to the last result by mode, and what follows from them. */
type Point = Record<'ratio' | 'speedup' | 'ideal' | 'goodput', number> & {
  [S in `${ContextMode}_s`]?: number
}

/** Runs the same tasks in the other modes. */
async function compare({ tasks, none }: Rebuilt): Promise<Point> {
  const runs = new Map<ContextMode, PoolRun>([['none', none]])
  for (const mode of modes) if (mode !== 'none') runs.set(mode, await runMode(mode, tasks))
  const pervasive = runs.get('pervasive')!
  console.table(Object.fromEntries([...runs].map(([mode, run]) => [mode, describe(run, none)])))
  if (values.svg !== undefined && !isCurve) plot(values.svg, runs)
  const ratio = ratioOf(none.pilots)
  const seconds = [...runs].map(([mode, run]) => [`${mode}_s`, hundredth(run.seconds)])
  return {
    ratio: hundredth(ratio),
    ...(Object.fromEntries(seconds) as { [S in `${ContextMode}_s`]?: number }),
    speedup: hundredth(none.seconds / pervasive.seconds),
    ideal: hundredth(1 + ratio),
    goodput: hundredth(shareOf(accountOf(pervasive.pilots), 'inference')),
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

function plot(folder: string, runs: Map<ContextMode, PoolRun>): void {
  writeChart(`${folder}/context-claims.svg`, {
    title: 'Claims done, by context mode',
    x: { name: 'seconds since the submission' },
    y: { name: 'claims' },
    lines: [...runs].map(([name, { done }]) => ({ name, points: done })),
  })
  writeChart(`${folder}/context-pilots.svg`, {
    title: 'Pilots with a worker, by context mode',
    x: { name: 'seconds since the submission' },
    y: { name: 'pilots', whole: true },
    lines: [...runs].map(([name, run]) => ({ name, points: pilotsOver(run) })),
  })
}

function plotCurve(folder: string, points: Point[]): void {
  const ends = [Math.min, Math.max].map((end) => Math.log(end(...points.map(({ ratio }) => ratio))))
  const steps = Array.from({ length: 50 }, (_, i) => Math.exp(ends[0]! + ((ends[1]! - ends[0]!) * i) / 49))
  writeChart(`${folder}/context-curve.svg`, {
    title: 'Speedup by keeping a context',
    x: { name: 'time to rebuild a context / inference of a task', log: true },
    y: { name: 'times as fast', log: true },
    lines: [
      { name: 'measured', marks: true, points: points.map(({ ratio, speedup }) => [ratio, speedup]) },
      { name: 'ideal, 1 + ratio', points: steps.map((ratio) => [ratio, 1 + ratio]) },
    ],
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
