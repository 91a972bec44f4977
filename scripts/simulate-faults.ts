import { parseArgs } from 'node:util'
import { plants, realCore } from './simulation/planted-bugs.ts'
import { Violation, World } from './simulation/simulated-cluster.ts'

/*
 * Runs the real scheduler and scaling policy, with manager, workers, site and network simulated on a virtual clock, one
 * run a seed. A seed that fails prints how to run it again; it fails the same way each time.
 */

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '2000' },
    first: { type: 'string', default: '1' },
    plant: { type: 'string' },
  },
})

const first = Number(values.first)
const seeds = Number(values.seeds)
const core = values.plant === undefined ? realCore : plants[values.plant]
if (!core || !Number.isInteger(first) || !Number.isInteger(seeds) || seeds < 1) {
  console.error(
    `usage: simulate-faults [--seeds N] [--first SEED] [--plant ${Object.keys(plants).join('|')}]`,
  )
  process.exit(2)
}

const startedAt = performance.now()
const total = { steps: 0, hours: 0, tasks: 0, restarts: 0, evictions: 0, copied: 0 }
const failures: string[] = []
for (let seed = first; seed < first + seeds; seed++) {
  try {
    const { steps, ms, tasks, restarts, evictions, copied } = new World(seed, core).run()
    total.steps += steps
    total.hours += ms / 3_600_000
    total.tasks += tasks
    total.restarts += restarts
    total.evictions += evictions
    total.copied += copied
  } catch (error) {
    const message =
      error instanceof Violation ? error.message : `seed ${seed}: ${(error as Error).stack ?? ''}`
    failures.push(message)
    console.log(`FAILED ${message}\n  again: npm run simulate:faults -- --seeds 1 --first ${seed}`)
    if (failures.length >= 10) break
  }
}
const seconds = Math.round((performance.now() - startedAt) / 100) / 10
console.log(
  JSON.stringify({ seeds, failures: failures.length, ...total, hours: Math.round(total.hours), seconds }),
)
if (failures.length > 0) process.exitCode = 1
