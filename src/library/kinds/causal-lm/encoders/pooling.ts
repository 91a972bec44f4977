/* How vectors of tokens become one for the text. Pure: numbers in, numbers out. */

export type Pooling = 'mean' | 'cls' | 'last' | 'max'

/** One vector for the rows of a text's tokens, at least one. */
export function pool(rows: readonly Float32Array[], pooling: Pooling): Float32Array {
  const [first] = rows
  if (!first) throw new Error('a text without tokens has no vector')
  if (pooling === 'cls') return first.slice()
  if (pooling === 'last') return (rows.at(-1) as Float32Array).slice()
  const pooled = first.slice()
  for (const row of rows.slice(1)) {
    for (let i = 0; i < pooled.length; i++) {
      const value = row[i] as number
      const before = pooled[i] as number
      pooled[i] = pooling === 'max' ? Math.max(before, value) : before + value
    }
  }
  if (pooling === 'mean')
    for (let i = 0; i < pooled.length; i++) pooled[i] = (pooled[i] as number) / rows.length
  return pooled
}

/** A vector brought to length 1; one of zeros stays as it is. */
export function normalize(vector: Float32Array): Float32Array {
  let squares = 0
  for (const value of vector) squares += value * value
  const length = Math.sqrt(squares)
  return length > 0 ? vector.map((value) => value / length) : vector
}

export function sigmoid(value: number): number {
  return 1 / (1 + Math.exp(-value))
}

/** Probabilities of classes that exclude each other. */
export function softmax(values: ArrayLike<number>): number[] {
  const numbers = Array.from(values)
  const greatest = numbers.reduce((most, value) => Math.max(most, value), -Infinity)
  const weights = numbers.map((value) => Math.exp(value - greatest))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  return weights.map((weight) => weight / total)
}
