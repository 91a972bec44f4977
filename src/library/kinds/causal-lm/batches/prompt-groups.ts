import { readAhead, type Side, type Start } from './batch.ts'
import type { Model } from '../graph/model.ts'
import { type BatchLimits, PASS_TOKENS, planBatches, planStarts } from './batch-sizes.ts'
import { createPrefixTree } from './prefix-cache.ts'
import type { Abilities } from '../graph/batching-probe.ts'
import type { Group } from './continuous-batching.ts'
import type { Row } from '../answers/write-tokens.ts'

/* Which rows are read together: by what the graph can do, by what their prompts share, and by their lengths. */

export interface PlannerOptions {
  readonly model: Model
  readonly abilities: Abilities
  readonly limits: BatchLimits
  /** Sequences longer than this are computed in another way, and so apart from others. */
  readonly longAfter: number
}

/** How rows are read that may share a pass. */
interface Way {
  readonly key: string
  readonly side: Side
  readonly padding: boolean
  /** Most rows of a pass. */
  readonly rows: number
}

/** A row, and the start that it will go on from. */
interface Planned {
  readonly row: Row
  /** Tokens of the longest start. */
  readonly seen: number
  /** Lengths at which starts are to be computed, unless they are known. */
  readonly starts: readonly number[]
}

/** Share of what can be remembered that is kept for starts. */
const STARTS_SHARE = 0.25

/** Makes a function that puts rows into groups, longest first. */
export function createPlanner({
  model,
  abilities,
  limits,
  longAfter,
}: PlannerOptions): (rows: readonly Row[]) => Group[] {
  const tree = createPrefixTree(model, Math.floor(STARTS_SHARE * limits.cached))
  return (rows) => {
    const planned = planRows(rows)
    const groups = [...Map.groupBy(planned, (one) => wayOf(one).key).values()].flatMap((members) => {
      const { side, padding, rows } = wayOf(members[0] as Planned)
      const extra = members.reduce((most, { row, seen }) => Math.max(most, seen + row.limit), 0)
      const lengths = members.map(({ row, seen }) => row.prompt.length - seen)
      const batches = planBatches(lengths, { ...limits, padding, rows: Math.min(rows, limits.rows) }, extra)
      return batches.map((batch) =>
        toGroup(
          side,
          batch.map((index) => members[index] as Planned),
        ),
      )
    })
    const longest = ({ rows }: Group) => rows.reduce((most, { prompt }) => Math.max(most, prompt.length), 0)
    return groups.sort((a, b) => longest(b) - longest(a))
  }

  function planRows(rows: readonly Row[]): Planned[] {
    // What is longer than that is computed in another way from its first token on.
    const sharing = abilities.starts ? rows.filter(({ prompt }) => prompt.length <= longAfter) : []
    const planned = planStarts(sharing.map(({ prompt }) => prompt))
    const starts = new Map(sharing.map((row, i) => [row, (planned[i] as number[]).filter(isWorthwhile)]))
    return rows.map((row) => {
      const own = starts.get(row)
      return { row, starts: own ?? [], seen: own ? Math.max(own.at(-1) ?? 0, tree.known(row.prompt)) : 0 }
    })
  }

  /** Rows that must go one by one because of their start had better have a start worth a pass of their own. */
  function isWorthwhile(length: number): boolean {
    return abilities.starts !== 'one' || length > PASS_TOKENS
  }

  function wayOf({ row, seen }: Planned): Way {
    const { prompts, steps, starts } = abilities
    const long = row.prompt.length > longAfter
    // Rows that must stay together cannot part where one of them becomes long.
    const alone = prompts === 'one' || (steps === 'together' && longAfter < Infinity)
    if (seen > 0 && !(starts === 'end' && prompts === 'end')) {
      const length = row.prompt.length - seen
      const key = starts === 'equal' ? `start of ${seen}, then ${length}` : 'start'
      return { key, side: 'end', padding: starts === 'end', rows: starts === 'one' || alone ? 1 : Infinity }
    }
    return {
      key: long ? 'long' : 'short',
      side: prompts === 'start' ? 'start' : 'end',
      padding: prompts === 'end' || prompts === 'start',
      rows: alone ? 1 : Infinity,
    }
  }

  function toGroup(side: Side, members: readonly Planned[]): Group {
    const plans = new Map(members.map((one) => [one.row, one]))
    return {
      side,
      rows: members.map(({ row }) => row),
      async starts(rows) {
        tree.trim()
        const found: Start[] = []
        for (const row of rows) {
          const { starts, seen } = plans.get(row) as Planned
          const { prompt } = row
          const start = { tokens: prompt, seen: seen > 0 ? await tree.find(prompt, starts, seen) : undefined }
          const pieces = abilities.starts !== undefined && prompt.length <= longAfter
          found.push(pieces ? await readAhead(model, start, limits.tokens) : start)
        }
        return found
      },
    }
  }
}
