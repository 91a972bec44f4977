import type { ScalingConfig } from '../../src/core/pilot-scaling.ts'
import { Random } from '../support/random.ts'

/** Everything about one simulated run that is decided beforehand, all of it from the seed. */
export interface Plan {
  seed: number
  random: Random
  scaling: ScalingConfig
  nodes: Node[]
  /** Tasks of each job, by what they do. */
  jobs: TaskKind[][]
  /** Contexts that the jobs are of, in turn, and how many of them a slot has memory for. */
  contexts: number
  memory: number
  retries: number
  /** Chance that a message is lost, or delivered twice. */
  loss: number
  doubling: number
  /** Longest delay of a message, milliseconds. */
  delay: number
  /** Mean time between faults of each kind, milliseconds; Infinity for none. */
  everyEviction: number
  everyRestart: number
  everyFreeze: number
  everyPartition: number
  /** The manager's clock may be so much earlier or later after a restart, milliseconds. */
  clockJump: number
  /** Chance that a task's setup fails on a worker at one attempt. */
  setupFailure: number
  /** When faults stop. */
  calmAt: number
}

export interface Node {
  name: string
  /** Time one task takes there, milliseconds. */
  taskMs: number
  /** Fails every task at once. */
  blackHole: boolean
  /** Pilots die there before they register. */
  deadly: boolean
  /** Every piece that its workers serve is wrong. */
  corrupt: boolean
  /** How far its clock is ahead, milliseconds. */
  clock: number
}

/** `poison` crashes its library each time, `faulty` throws each time. */
export type TaskKind = 'good' | 'poison' | 'faulty'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

export function makePlan(seed: number): Plan {
  const random = new Random(seed)
  const max = random.between(1, 6)
  const strange = random.chance(0.3)
  return {
    seed,
    random,
    scaling: {
      policy: random.pick(['fixed', 'demand', 'opportunistic'] as const),
      count: random.between(1, max),
      min: 1,
      max,
      pending: random.between(1, 3),
      finishWithin: random.between(10, 600),
      linger: 30,
      removeHeldAfter: 120,
      submitSize: random.between(1, 8),
    },
    nodes: Array.from({ length: max + random.between(0, 3) }, (_, i) => ({
      name: `n${i}`,
      taskMs: random.chance(0.2) ? random.between(2_000, 8_000) : random.between(20, 900),
      // Never all of them: somewhere the work must be possible. One deadly node is enough to make a site back off.
      blackHole: i > 0 && strange && random.chance(0.3),
      deadly: i === 1 && strange && random.chance(0.5),
      corrupt: random.chance(0.15),
      clock: random.chance(0.2) ? random.between(-HOUR, HOUR) : 0,
    })),
    jobs: Array.from({ length: random.between(1, 3) }, () =>
      Array.from({ length: random.between(5, 80) }, () =>
        random.chance(0.03) ? random.pick(['poison', 'faulty'] as const) : 'good',
      ),
    ),
    retries: random.between(0, 2),
    loss: random.pick([0, 0.02, 0.15]),
    doubling: random.pick([0, 0.05]),
    delay: random.pick([5, 300, 4_000]),
    everyEviction: random.pick([Infinity, 2 * MINUTE, MINUTE / 3]),
    everyRestart: random.pick([Infinity, 3 * MINUTE, MINUTE / 2]),
    everyFreeze: random.pick([Infinity, 4 * MINUTE]),
    everyPartition: random.pick([Infinity, 3 * MINUTE]),
    clockJump: random.pick([0, 10_000, 24 * HOUR]),
    setupFailure: random.pick([0, 0.2]),
    calmAt: random.between(1, 6) * MINUTE,
    contexts: random.between(1, 3),
    memory: random.between(1, 2),
  }
}
