import type { Tokenizer } from '../prompts/tokenizer.ts'

/** Tokens that are decoded anew with each one that comes: enough for what a tokenizer does between neighbours. */
const WINDOW = 16

/**
 * Follows a text as its tokens come, without decoding all of it each time.
 *
 * What may yet change is held back: half a character, what may become a stop string, and a space that goes before what may
 * follow it. So what was given out is always the beginning of the finished text.
 *
 * @returns a function of all tokens so far: what has come to the text, to be called with one more token, or several, each time
 */
export function createTextGrowth(
  stops: readonly string[],
  decode: Tokenizer['decode'],
): (tokens: readonly number[]) => string {
  /** The window begins at this token, and of its text so many characters were given out. */
  let from = 0
  let given = 0
  return (tokens) => {
    const text = decode(tokens.slice(from))
    const settled = settledLength(text, stops)
    const more = text.slice(given, settled)
    given = Math.max(given, settled)
    if (tokens.length - from >= 2 * WINDOW) move(tokens, text)
    return more
  }

  /** Begins the window later, if its text is a text by itself there. */
  function move(tokens: readonly number[], text: string): void {
    const next = tokens.length - WINDOW
    const rest = decode(tokens.slice(next))
    const gone = text.length - rest.length
    if (rest.trim() === '' || gone > given || !text.endsWith(rest)) return
    from = next
    given -= gone
  }
}

/** How much of a text stays as it is, whatever follows. */
export function settledLength(text: string, stops: readonly string[]): number {
  // Half a character shows as U+FFFD. Some tokenizers take the space off in "word ." and "do n't".
  const whole = text.replace(/\ufffd+$/, '').replace(/ (?:n'?|'[vr]?)?$/, '').length
  let settled = whole
  for (const stop of stops) settled = Math.min(settled, beforeStop(text.slice(0, whole), stop))
  return settled
}

/** Where the longest end of a text begins that a stop string begins with; its length if there is none. */
function beforeStop(text: string, stop: string): number {
  for (let at = Math.max(0, text.length - stop.length + 1); at < text.length; at++)
    if (stop.startsWith(text.slice(at))) return at
  return text.length
}
