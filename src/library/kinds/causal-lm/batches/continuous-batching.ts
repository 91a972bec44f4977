import type { CallReporter } from '../../../runtime/library-kind.ts'
import { readPrompts, scorePrompts, type Side, type Start } from './batch.ts'
import { createDrafter } from './speculative-drafts.ts'
import { type Failure, type LaneOptions, Lanes } from './lanes.ts'
import type { BatchLimits } from './batch-sizes.ts'
import { type End, type Row, startWriting } from '../answers/write-tokens.ts'

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
   * Whether the first token may be all of an answer. Once it has shown to be that usually, no state is asked for to go on
   * from, and the few rows that need it are begun again.
   */
  readonly brief: boolean
}

/** Rows join those that go on once there is room for this share of a batch: prompts are read best together. */
const JOINING_SHARE = 1 / 8
/** Rows whose answers have few tokens are answered before others join: to bring them together takes longer than that. */
const BRIEF = 16
/** Looking at first tokens alone pays where at least this share of them are all of an answer; a few are no proof. */
const DECISIVE_SHARE = 0.9
const PROOF = 16

/** Makes a function that runs rows until each has its answer: rows join as others end. */
export function createRunner(
  options: RunnerOptions,
): (rows: readonly Row[], reporter: Pick<CallReporter, 'begin' | 'end'>) => Promise<void> {
  const { model, limits, plan } = options
  const first = { tokens: 0, decisive: 0 }
  const drafter = createDrafter()

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
    const lanes = new Lanes(options, drafter)
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
    const longest = rows.reduce((most, { limit }) => Math.max(most, limit), lanes.longest)
    const joins = options.abilities.steps !== 'together' && longest > BRIEF && room >= enough
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
    const peeks = options.brief && oftenDecides(first) && rows.length > 0
    try {
      if (peeks) {
        await startWriting(rows, await scorePrompts(model, side, await starts(rows)), endOne)
        note(rows.length, left.size)
      }
      if (left.size === 0) return []
      const open = [...left]
      const { batch, scores } = await readPrompts(model, side, await starts(open))
      const writings = await startWriting(open, scores, endOne)
      if (!peeks) note(open.length, left.size)
      await lanes.add(batch, writings)
      return []
    } catch (error) {
      return [{ rows: [...left], error }]
    }
  }

  function note(rows: number, undecided: number): void {
    first.tokens += rows
    first.decisive += rows - undecided
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

/** Whether first tokens have been answers of their own so often that nothing else need be asked for. */
function oftenDecides({ tokens, decisive }: { tokens: number; decisive: number }): boolean {
  return tokens >= PROOF && decisive >= DECISIVE_SHARE * tokens
}
