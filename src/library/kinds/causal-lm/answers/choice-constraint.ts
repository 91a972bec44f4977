import { ContextFilesError } from '../../../../common/task-errors.ts'
import type { Tokenizer } from '../prompts/tokenizer.ts'

/*
 * An answer that must be one of some choices. At each step only those tokens are allowed after which the text can still
 * become a choice, white space around it aside; the answer is complete as soon as the text can become only one.
 *
 * So an unconstrained greedy answer that is a choice is also the constrained one: each of its tokens is allowed, and the
 * greatest of all is the greatest of those allowed. It is just found sooner, often after one token.
 */

/** How far an answer has come. */
export interface ChoiceState {
  /** The choice it is, once it can be no other. */
  readonly label: string | undefined
  /** Where a token leads; undefined if no choice lies there. */
  follow(token: number): ChoiceState | undefined
  /** All tokens that lead somewhere, in the order of their ids. */
  tokens(): readonly number[]
}

/** What has to be known of a model's tokens. */
export interface Vocabulary {
  readonly size: number
  readonly endTokens: ReadonlySet<number>
  readonly decode: Tokenizer['decode']
  readonly candidates: Tokenizer['candidates']
}

/** States that are remembered; those a strange model wanders through beyond them are worked out each time. */
const STATES_MAX = 10_000

/** The state before the first token. States are shared by all calls and remember where tokens lead. */
export function startChoice(
  choices: readonly string[],
  { size, endTokens, decode, candidates }: Vocabulary,
): ChoiceState {
  const labels = new Map(choices.map((choice) => [choice.trim(), choice]))
  if (labels.size < choices.length)
    throw new ContextFilesError(`two of the choices are alike: ${choices.join(', ')}`)
  let states = 0
  let possible: readonly number[] | undefined
  /** Tokens that can be part of any choice: to try the whole vocabulary in each state would take seconds. */
  const tokensOfChoices = () =>
    (possible ??= [...new Set([...candidates([...labels.keys()]), ...endTokens])]
      .filter((token) => token < size)
      .sort((a, b) => a - b))
  return stateAt([], [...labels.keys()])

  /** The state after some tokens, whose text can become the choices of `open`. */
  function stateAt(path: readonly number[], open: readonly string[]): ChoiceState {
    const next = new Map<number, ChoiceState>()
    let leading: number[] | undefined
    const follow = (token: number) => {
      const known = next.get(token)
      if (known) return known
      const state = stateAfter(path, open, token)
      if (state && states < STATES_MAX) {
        next.set(token, state)
        states += 1
      }
      return state
    }
    return {
      label: open.length === 1 ? labels.get(open[0] as string) : undefined,
      follow,
      tokens: () => (leading ??= tokensOfChoices().filter(follow)),
    }
  }

  function stateAfter(
    path: readonly number[],
    open: readonly string[],
    token: number,
  ): ChoiceState | undefined {
    if (endTokens.has(token)) {
      const text = decode(path).trim()
      return open.includes(text) ? stateAt(path, [text]) : undefined
    }
    const longer = [...path, token]
    const left = reachable(decode(longer), open)
    return left.length > 0 ? stateAt(longer, left) : undefined
  }
}

/**
 * The choices that a text can still become, white space around it aside. A character that is not whole yet (U+FFFD at
 * the end) may become any that takes more than one byte.
 */
export function reachable(text: string, choices: readonly string[]): string[] {
  const start = text.trimStart()
  const whole = start.replace(/\ufffd+$/, '')
  if (whole.length < start.length) {
    return choices.filter((choice) => choice.startsWith(whole) && choice.charCodeAt(whole.length) > 0x7f)
  }
  return choices.filter((choice) => choice.startsWith(start) || choice === start.trimEnd())
}
