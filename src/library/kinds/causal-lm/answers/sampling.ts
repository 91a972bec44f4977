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
  /** Draw from tokens that are at least this times as likely as the likeliest. */
  minP?: number | undefined
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

/**
 * Draws an index by the given scores; greedily at temperature 0. -1 if no score is a number.
 *
 * The same random number gives the same index even where scores differ by a rounding error, as they do between batches:
 * candidates lie side by side in the order of their indices, not of their scores, which near ties would swap.
 */
export function sample(logits: Logits, options: SamplingOptions, random: Random): number {
  const best = argmax(logits)
  const { temperature, topK = Infinity, topP = 1, minP = 0 } = options
  if (temperature === 0 || best < 0) return best
  const scale = { greatest: logits[best] as number, temperature }
  if (topK < logits.length) {
    const few = largest(logits, topK)
    const weights = Float64Array.from(few, (index) => weightOf(logits[index] as number, scale))
    cutSorted(weights, topP, minP)
    const order = [...few.keys()].sort((a, b) => (few[a] as number) - (few[b] as number))
    const drawn = draw(
      order.map((at) => weights[at] as number),
      random,
    )
    return few[order[drawn] as number] as number
  }
  const weights = scratch(logits.length)
  if (topP < 1) weighNucleus(weights, logits, scale, topP)
  else for (let i = 0; i < weights.length; i++) weights[i] = weightOf(logits[i] as number, scale)
  if (minP > 0) for (let i = 0; i < weights.length; i++) if ((weights[i] as number) < minP) weights[i] = 0
  return draw(weights, random)
}

interface Scale {
  greatest: number
  temperature: number
}

/** Probability relative to the likeliest. What has no score has none. */
function weightOf(logit: number, { greatest, temperature }: Scale): number {
  return Math.exp((logit - greatest) / temperature) || 0
}

/** Leaves of weights, greatest first, those that are to be drawn from; the others become 0. */
function cutSorted(weights: Float64Array, topP: number, minP: number): void {
  const target = topP < 1 ? topP * sum(weights) : Infinity
  let reached = 0
  for (let i = 0; i < weights.length; i++) {
    if (reached >= target || (weights[i] as number) < minP) weights[i] = 0
    reached += weights[i] as number
  }
}

/** Classes of weights, each 1/16 wider than the next: a vocabulary need not be sorted to find its likeliest part. */
const CLASSES = 1024
const CLASSES_PER_E = 16

/** Weighs the fewest tokens that together have the probability `topP`; the others get 0. */
function weighNucleus(weights: Float64Array, logits: Logits, scale: Scale, topP: number): void {
  const { greatest, temperature } = scale
  const masses = new Float64Array(CLASSES)
  const classOf = (i: number) =>
    Math.min(CLASSES - 1, Math.floor(((greatest - (logits[i] as number)) / temperature) * CLASSES_PER_E))
  let total = 0
  for (let i = 0; i < weights.length; i++) {
    const weight = weightOf(logits[i] as number, scale)
    weights[i] = weight
    if (weight === 0) continue
    const at = classOf(i)
    masses[at] = (masses[at] as number) + weight
    total += weight
  }
  let left = topP * total
  let border = 0
  while (border < CLASSES - 1 && left > (masses[border] as number)) left -= masses[border++] as number
  const atBorder: number[] = []
  for (let i = 0; i < weights.length; i++) {
    if (weights[i] === 0) continue
    const at = classOf(i)
    if (at === border) atBorder.push(i)
    else if (at > border) weights[i] = 0
  }
  atBorder.sort((a, b) => (weights[b] as number) - (weights[a] as number) || a - b)
  for (const i of atBorder) {
    if (left <= 0) weights[i] = 0
    else left -= weights[i] as number
  }
}

let shared = new Float64Array(0)

/** Room for weights until the next draw: a vocabulary takes a megabyte. */
function scratch(length: number): Float64Array {
  if (shared.length < length) shared = new Float64Array(length)
  return shared.subarray(0, length)
}

function draw(weights: ArrayLike<number>, random: Random): number {
  let left = random() * sum(weights)
  let last = 0
  for (let i = 0; i < weights.length; i++) {
    const weight = weights[i] as number
    if (weight === 0) continue
    left -= weight
    if (left < 0) return i
    last = i
  }
  // Rounding can leave a crumb.
  return last
}

/** Indices of the `count` greatest values, greatest first; of equals, the first first. */
export function largest(values: Logits, count: number): number[] {
  const kept: number[] = []
  if (count < 1) return kept
  let least = -Infinity
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number
    if (kept.length === count) {
      if (!(value > least)) continue
      kept.pop()
    }
    let at = kept.length
    while (at > 0 && (values[kept[at - 1] as number] as number) < value) at--
    kept.splice(at, 0, i)
    least = values[kept[kept.length - 1] as number] as number
  }
  return kept
}

/** Logarithm of the sum of the exponentials: what to take off a score to have the logarithm of its probability. */
export function logTotal(logits: Logits): number {
  const greatest = logits[argmax(logits)] ?? 0
  let total = 0
  for (let i = 0; i < logits.length; i++) total += Math.exp((logits[i] as number) - greatest) || 0
  return greatest + Math.log(total)
}

function sum(values: ArrayLike<number>): number {
  let total = 0
  for (let i = 0; i < values.length; i++) total += values[i] as number
  return total
}

/** Random numbers that depend on nothing but the seed, the tokens of a prompt and which of its answers it is. */
export function seededRandom(seed: number, prompt: readonly number[], answer = 0): Random {
  const digest = createHash('sha256')
    .update(`${seed}:${prompt.join(',')}${answer === 0 ? '' : `:${answer}`}`)
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
