/* Which sequences run together. Pure: lengths and limits in, batches out. */

export interface BatchLimits {
  /** Most sequences in a batch. */
  rows: number
  /** Most tokens of a batch that go through the model at once, padding included. One sequence alone may exceed it. */
  tokens: number
  /** Most tokens of a batch that are remembered at any time, padding and answers included. Likewise. */
  cached: number
  /** Whether sequences of different lengths may share a batch, the shorter ones padded. */
  padding: boolean
}

/** How much of a batch may be padding: more than this costs more than a second batch would. */
const PADDING_SHARE = 0.5

/**
 * Puts sequences of the given lengths into batches, each within `limits` and of similar lengths, shortest first.
 *
 * @param extra tokens that are remembered of each sequence besides: what was seen of it before, and its answer
 * @returns for each batch the indices of its sequences; every index is in exactly one
 */
export function planBatches(lengths: readonly number[], limits: BatchLimits, extra: number): number[][] {
  const order = [...lengths.keys()].sort((a, b) => length(lengths, a) - length(lengths, b) || a - b)
  const batches: number[][] = []
  let batch: number[] = []
  let tokens = 0
  for (const index of order) {
    const width = length(lengths, index)
    const padded = width * (batch.length + 1)
    const fits =
      batch.length < limits.rows &&
      padded <= limits.tokens &&
      (width + extra) * (batch.length + 1) <= limits.cached &&
      (limits.padding
        ? padded - (tokens + width) <= PADDING_SHARE * padded
        : width === length(lengths, batch[0] ?? index))
    if (batch.length > 0 && !fits) {
      batches.push(batch)
      batch = []
      tokens = 0
    }
    batch.push(index)
    tokens += width
  }
  if (batch.length > 0) batches.push(batch)
  return batches
}

/** How many tokens all sequences have in common at their start, leaving each at least one of its own. */
export function commonPrefix(sequences: ReadonlyArray<readonly number[]>): number {
  const [first, ...others] = sequences
  if (first === undefined) return 0
  let common = first.length - 1
  for (const other of others) {
    common = Math.min(common, other.length - 1)
    for (let i = 0; i < common; i++) if (first[i] !== other[i]) common = i
  }
  return Math.max(0, common)
}

/**
 * Tokens worth putting through the model at once, given the size of its weights in bytes. More share the cost of
 * reading the weights; fewer keep what is computed from them in a processor's cache.
 */
export function tokenBudget(level: 'memory' | 'device', weights: number): number {
  if (level === 'device') return 32_768
  return weights <= CACHED_WEIGHTS ? 1024 : 4096
}

/** Weights of about this size stay in a processor's last cache, bytes. */
const CACHED_WEIGHTS = 64 << 20

/**
 * Tokens that can be remembered at once, given the free memory and the size of the cache of one token in bytes. While
 * a token is added there are the cache before, the one after, and a copy on its way out.
 */
export function cacheBudget(free: number, perToken: number): number {
  return Math.floor(free / (4 * perToken))
}

function length(lengths: readonly number[], index: number): number {
  return lengths[index] as number
}
