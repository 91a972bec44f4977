import type { Tokenizer } from '../prompts/tokenizer.ts'

/**
 * Looks for stop strings in what was generated so far, after each token.
 *
 * @returns a function of all tokens so far: the text before the first stop string, or undefined while there is none
 */
export function createStopper(
  stops: readonly string[],
  decode: Tokenizer['decode'],
): (tokens: readonly number[]) => string | undefined {
  if (stops.length === 0) return () => undefined
  // A stop string was completed by the last token, so it lies within about as many tokens as it has bytes. Only what
  // is found there is worth decoding the whole text for.
  const reach = Math.max(...stops.map((stop) => Buffer.byteLength(stop))) + SPARE_TOKENS
  return (tokens) => {
    if (findStop(decode(tokens.slice(-reach)), stops) === undefined) return undefined
    const text = decode(tokens)
    const end = findStop(text, stops)
    return end === undefined ? undefined : text.slice(0, end)
  }
}

/** Special tokens have no text, and the first token in reach may begin inside a character. */
const SPARE_TOKENS = 8

/** Where the first stop string of a text begins. */
export function findStop(text: string, stops: readonly string[]): number | undefined {
  const found = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0)
  return found.length > 0 ? Math.min(...found) : undefined
}
