/* Which sequences run together. Pure: lengths and limits in, batches out. */

export interface BatchLimits {
  /** Most sequences in a batch. */
  rows: number
  /** Most tokens of a batch that go through the model at once, padding included. One sequence alone may exceed it. */
  tokens: number
  /** Most tokens of a batch that are remembered at any time, padding and answers included. Likewise. */
  cached: number
}

/** How much of a batch may be padding: more than this costs more than a second batch would. */
const PADDING_SHARE = 0.5

export interface PassLimits extends BatchLimits {
  /** Whether sequences of different lengths may share a batch, the shorter ones padded. */
  padding: boolean
}

/**
 * Puts sequences of the given lengths into batches, each within `limits` and of similar lengths, longest first: those
 * that come later then find room beside those that go on.
 *
 * @param extra tokens that are remembered of each sequence besides: what was seen of it before, and its answer
 * @returns for each batch the indices of its sequences; every index is in exactly one
 */
export function planBatches(lengths: readonly number[], limits: PassLimits, extra: number): number[][] {
  const order = [...lengths.keys()].sort((a, b) => length(lengths, b) - length(lengths, a) || a - b)
  const batches: number[][] = []
  let batch: number[] = []
  let tokens = 0
  for (const index of order) {
    const width = length(lengths, batch[0] ?? index)
    const padded = width * (batch.length + 1)
    const fits =
      batch.length < limits.rows &&
      padded <= limits.tokens &&
      (width + extra) * (batch.length + 1) <= limits.cached &&
      (limits.padding
        ? padded - (tokens + length(lengths, index)) <= PADDING_SHARE * padded
        : length(lengths, index) === width)
    if (batch.length > 0 && !fits) {
      batches.push(batch)
      batch = []
      tokens = 0
    }
    batch.push(index)
    tokens += length(lengths, index)
  }
  if (batch.length > 0) batches.push(batch)
  return batches
}

/** What one more pass through the model costs at least, in tokens. */
export const PASS_TOKENS = 64

/**
 * How many tokens a pass should append to each of some rows, of which the first is known and the others are drafts:
 * so many that the most tokens are written for what the pass costs.
 *
 * @param chances for each row, how likely it is that its draft is right up to each of its tokens
 * @param most tokens that there is room for
 */
export function draftWidth(chances: ReadonlyArray<readonly number[]>, most: number): number {
  const rows = chances.length
  const cost = (width: number) => PASS_TOKENS + rows * width
  let best = 1
  let written = rows
  let rate = written / cost(1)
  for (let width = 2; width <= most; width++) {
    const right = chances.reduce((sum, chances) => sum + (chances[width - 2] ?? 0), 0)
    if (right === 0) break
    written += right
    if (written / cost(width) <= rate) continue
    best = width
    rate = written / cost(width)
  }
  return best
}

/**
 * Starts that are worth computing once: a prompt shares one with others, as a system prompt, and within those perhaps a
 * longer one with fewer, as a document.
 *
 * @returns for each sequence the lengths of its starts, shortest first; each leaves it at least one token of its own
 */
export function planStarts(sequences: ReadonlyArray<readonly number[]>): number[][] {
  const starts = sequences.map((): number[] => [])
  const order = [...sequences.keys()].sort((a, b) => compare(sequence(a), sequence(b)))
  const groups: { members: number[]; known: number; seen: number }[] = [{ members: order, known: 0, seen: 0 }]
  for (let group = groups.pop(); group; group = groups.pop()) {
    const { members, known, seen } = group
    if (members.length < 2) continue
    // Members are in order, so that what the first and the last share, all do.
    const common = shared(sequence(members[0] as number), sequence(members.at(-1) as number), known)
    const longer = members.filter((index) => sequence(index).length > common)
    const worth = (longer.length - 1) * (common - seen) > PASS_TOKENS
    if (worth) for (const index of longer) starts[index]?.push(common)
    const branches = Map.groupBy(longer, (index) => sequence(index)[common])
    for (const branch of branches.values())
      groups.push({ members: branch, known: common, seen: worth ? common : seen })
  }
  return starts

  function sequence(index: number): readonly number[] {
    return sequences[index] as readonly number[]
  }
}

/** How many tokens two sequences share at their start, of which `known` are known to be. */
function shared(a: readonly number[], b: readonly number[], known: number): number {
  let at = known
  while (at < a.length && at < b.length && a[at] === b[at]) at++
  return at
}

function compare(a: readonly number[], b: readonly number[]): number {
  const at = shared(a, b, 0)
  return (a[at] ?? -1) - (b[at] ?? -1)
}

/**
 * Tokens worth putting through the model at once, given the size of its weights in bytes. More share the cost of
 * reading the weights; fewer keep what is computed from them in a processor's cache.
 *
 * @param scores bytes of scores that each token costs, as far as a graph gives more of them than are needed
 * @param free memory that there is for them, bytes
 */
export function tokenBudget(
  level: 'memory' | 'device',
  weights: number,
  { scores, free }: { scores: number; free: number },
): number {
  const worthwhile = level === 'device' ? 32_768 : weights <= CACHED_WEIGHTS ? 1024 : 4096
  const fitting = scores > 0 ? Math.floor((SCORES_SHARE * free) / scores) : Infinity
  return Math.max(LEAST_TOKENS, Math.min(worthwhile, fitting))
}

/** How many threads compute a model: `count` hold it, each by itself, and use `each` processors for a pass. */
export interface ThreadPlan {
  readonly count: number
  readonly each: number
}

/**
 * A small model is computed in steps too short to be shared by processors, so that each had better run batches of its
 * own; the weights of a larger one are read once for all.
 *
 * @param threads that may compute
 * @param weights size of the model, bytes
 * @param free memory, bytes
 */
export function planThreads({
  threads,
  weights,
  free,
}: {
  threads: number
  weights: number
  free: number
}): ThreadPlan {
  const fitting = Math.floor((COPIES_SHARE * free) / (weights + THREAD_BYTES))
  const count = weights > 0 && weights <= CACHED_WEIGHTS ? Math.max(1, Math.min(threads, fitting)) : 1
  return { count, each: Math.max(1, Math.floor(threads / count)) }
}

/** Share of the free memory that copies of a model may take, and what each takes besides its weights, bytes. */
const COPIES_SHARE = 1 / 8
const THREAD_BYTES = 64 << 20

/** Share of the free memory that the scores of one pass may take. */
const SCORES_SHARE = 1 / 16
/** Fewer tokens than this are not worth a pass. */
const LEAST_TOKENS = 32

/** Weights of about this size stay in a processor's last cache, bytes. */
const CACHED_WEIGHTS = 64 << 20

/**
 * Tokens that can be remembered at once, given the free memory and the size of the cache of one token in bytes. While
 * a token is added there are the cache before, the one after, and a copy on its way out.
 */
export function cacheBudget(free: number, perToken: number): number {
  return Math.floor(free / (4 * Math.max(1, perToken)))
}

function length(lengths: readonly number[], index: number): number {
  return lengths[index] as number
}
