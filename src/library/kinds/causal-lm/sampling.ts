import { createHash } from 'node:crypto'

/** Scores of the next token, one for each token it can be. */
export type Logits = ArrayLike<number>

export interface SamplingOptions {
  /** 0 is greedy. */
  temperature: number
  /** Draw from this many likeliest tokens at most. */
  topK?: number | undefined
  /** Draw from the fewest likeliest tokens that together have this probability. */
  topP?: number | undefined
}

/** Numbers in [0, 1). */
export type Random = () => number

/** Index of the greatest value; the first of equals. -1 if no value is a number. */
export function argmax(values: Logits): number {
  let best = -1
  let greatest = -Infinity
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number
    if (value > greatest) {
      greatest = value
      best = i
    }
  }
  return best
}

/** Draws an index by the given scores; greedily at temperature 0. -1 if no score is a number. */
export function sample(logits: Logits, options: SamplingOptions, random: Random): number {
  const best = argmax(logits)
  if (options.temperature === 0 || best < 0) return best
  const weights = new Float64Array(logits.length)
  const greatest = logits[best] as number
  for (let i = 0; i < weights.length; i++) {
    weights[i] = Math.exp(((logits[i] as number) - greatest) / options.temperature) || 0
  }
  return draw(weights, eligible(weights, options), random)
}

/** The indices to draw from: all, or the likeliest, likeliest first. */
function eligible(weights: Float64Array, { topK = Infinity, topP = 1 }: SamplingOptions): Iterable<number> {
  if (topK >= weights.length && topP >= 1) return weights.keys()
  const few = topK < weights.length ? largest(weights, topK) : undefined
  if (topP >= 1 && few) return few
  const target = topP * sum(few ? few.map((i) => weights[i] as number) : weights)
  // A handful of tokens usually has most of the probability: there is no need to sort the whole vocabulary.
  for (let count = 32; ; count *= 8) {
    const ordered = few ?? largest(weights, count)
    let reached = 0
    const enough = ordered.findIndex((i) => (reached += weights[i] as number) >= target)
    if (enough >= 0) return ordered.slice(0, enough + 1)
    if (few || count >= weights.length) return ordered
  }
}

function draw(weights: Float64Array, indices: Iterable<number>, random: Random): number {
  const candidates = [...indices]
  let left = random() * candidates.reduce((total, i) => total + (weights[i] as number), 0)
  for (const i of candidates) {
    left -= weights[i] as number
    if (left < 0) return i
  }
  // Rounding can leave a crumb.
  return candidates[0] as number
}

/** Indices of the `count` greatest values, greatest first; of equals, the first first. */
export function largest(values: Logits, count: number): number[] {
  const kept: number[] = []
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number
    if (kept.length === count) {
      if (!(value > (values[kept[count - 1] as number] as number))) continue
      kept.pop()
    }
    let at = kept.length
    while (at > 0 && (values[kept[at - 1] as number] as number) < value) at--
    kept.splice(at, 0, i)
  }
  return kept
}

function sum(values: ArrayLike<number>): number {
  let total = 0
  for (let i = 0; i < values.length; i++) total += values[i] as number
  return total
}

/** Random numbers that depend on nothing but the seed and the tokens of a prompt. */
export function seededRandom(seed: number, prompt: readonly number[]): Random {
  const digest = createHash('sha256')
    .update(`${seed}:${prompt.join(',')}`)
    .digest()
  let a = digest.readInt32LE(0)
  let b = digest.readInt32LE(4)
  let c = digest.readInt32LE(8)
  let d = digest.readInt32LE(12)
  // sfc32 by Chris Doty-Humphrey (PractRand): small, fast, and more than good enough to draw tokens.
  return () => {
    const t = (((a + b) | 0) + d) | 0
    d = (d + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (c << 21) | (c >>> 11)
    c = (c + t) | 0
    return (t >>> 0) / 4294967296
  }
}
