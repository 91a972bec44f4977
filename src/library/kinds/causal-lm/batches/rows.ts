import type { CallReporter } from '../../../runtime/library-kind.ts'
import { readPrompts, scorePrompts, type Side, type Start } from './batch.ts'
import { createLanes, type Failure, type LaneOptions, type Lanes } from './lanes.ts'
import type { BatchLimits } from './plan.ts'
import { type End, type Row, startWriting } from '../answers/writing.ts'

/** Rows whose prompts go through the model together. */
export interface Group {
  readonly side: Side
  readonly rows: readonly Row[]
  /** What the model has seen of some of the rows already. */
  starts: (rows: readonly Row[]) => Promise<readonly Start[]>
}

export interface RunnerOptions extends LaneOptions {
  readonly limits: BatchLimits
  /** Puts rows into groups, in the order in which they are to be begun. */
  plan: (rows: readonly Row[]) => Group[]
  /**
   * Whether the first token may be all of an answer. As long as it usually is, no state is asked for to go on from, and
   * the few rows that need it are begun again.
   */
  readonly brief: boolean
}

/** Rows join those that go on once there is room for this share of a batch: prompts are read best together. */
const JOINING_SHARE = 1 / 8
/** Looking at first tokens alone pays as long as no more rows than this share need others; a few are no proof. */
const UNDECIDED_SHARE = 0.1
const UNDECIDED_FEW = 16

/** Makes a function that runs rows until each has its answer: rows join as others end. */
export function createRunner(
  options: RunnerOptions,
): (rows: readonly Row[], reporter: Pick<CallReporter, 'begin' | 'end'>) => Promise<void> {
  const { model, limits, plan } = options
  let peeking = options.brief
  let peeked = 0
  let undecided = 0

  return async (rows, reporter) => {
    const end: End = (row, outcome) => reporter.end(row.call, outcome)
    await run(plan(rows), end, async (some) => {
      const begun = new Set(await reporter.begin(some.map(({ call }) => call)))
      return some.filter(({ call }) => begun.has(call))
    })
  }

  async function run(
    groups: Group[],
    end: End,
    begin: (rows: readonly Row[]) => Promise<readonly Row[]>,
  ): Promise<void> {
    const lanes = createLanes(options)
    for (;;) {
      const group = takeGroup(groups, lanes)
      let failures: Failure[]
      if (group) failures = await admit({ ...group, rows: await begin(group.rows) }, lanes, end)
      else if (lanes.rows > 0) failures = await lanes.step(end)
      else return
      for (const failure of failures) await retry(failure, end)
    }
  }

  /** The rows that may join now, if any; what is left of their group stays in front. */
  function takeGroup(groups: Group[], lanes: Lanes): Group | undefined {
    const [group] = groups
    if (!group) return undefined
    const { rows } = group
    const room = Math.min(limits.rows - lanes.rows, lanes.roomFor(rows))
    const enough = Math.min(rows.length, Math.ceil(limits.rows * JOINING_SHARE))
    const joins = options.abilities.steps !== 'together' && room >= enough
    if (lanes.rows > 0 && !joins) return undefined
    const count = Math.max(1, room)
    if (count >= rows.length) groups.shift()
    else groups[0] = { ...group, rows: rows.slice(count) }
    return { ...group, rows: rows.slice(0, count) }
  }

  /** Reads the prompts of rows and writes their first tokens. Those with more to say go on in the lanes. */
  async function admit({ side, rows, starts }: Group, lanes: Lanes, end: End): Promise<Failure[]> {
    const left = new Set(rows)
    const endOne: End = (row, outcome) => {
      left.delete(row)
      end(row, outcome)
    }
    try {
      if (peeking && left.size > 0) {
        startWriting(rows, await scorePrompts(model, side, await starts(rows)), endOne)
        peeked += rows.length
        undecided += left.size
        peeking = undecided <= UNDECIDED_FEW + UNDECIDED_SHARE * peeked
      }
      if (left.size === 0) return []
      const open = [...left]
      const { batch, logits } = await readPrompts(model, side, await starts(open))
      await lanes.add(batch, startWriting(open, logits, endOne))
      return []
    } catch (error) {
      return [{ rows: [...left], error }]
    }
  }

  /** Rows that a pass failed with, for want of memory perhaps, are tried again in halves, by themselves. */
  async function retry({ rows, error }: Failure, end: End): Promise<void> {
    if (rows.length === 1) return rows.forEach((row) => end(row, { error }))
    const half = Math.ceil(rows.length / 2)
    for (const part of [rows.slice(0, half), rows.slice(half)]) {
      if (part.length > 0) await run(plan(part), end, (some) => Promise.resolve(some))
    }
  }
}
