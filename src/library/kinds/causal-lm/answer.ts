import type { ChoiceState } from './choices.ts'
import { argmax, type Logits, type Random, sample, type SamplingOptions } from './sampling.ts'
import { createStopper } from './stopping.ts'
import type { Tokenizer } from './tokenizer.ts'

/** The value of a finished call. */
export interface Answer {
  /** What was generated, without special tokens and without the stop string. With `choices`, the choice. */
  text: string
  /** Only with `choices`: which one it is, or null if the answer came to none. */
  label?: string | null
  /** Tokens that went in, and that came out, the one that ended the answer included. */
  tokens: { prompt: number; generated: number }
  /** Whether the answer came to its end, or to the limit of its length. */
  finish: Finish
}

type Finish = 'stop' | 'length'

/** Writes one answer, token by token. */
export interface Writer {
  /** Chooses the next token by its scores. Returns it, or undefined if the answer is complete. */
  write(logits: Logits): number | undefined
  answer(): Answer
}

/** What a {@link Writer} needs to know. */
export interface Writing {
  readonly sampling: SamplingOptions
  readonly random: Random
  readonly promptTokens: number
  /** Most tokens to generate. */
  readonly limit: number
  readonly endTokens: ReadonlySet<number>
  readonly decode: Tokenizer['decode']
}

/** A writer of free text, which ends with an end token, a stop string or the limit. */
export function writeText(writing: Writing, stops: readonly string[]): Writer {
  const { sampling, random, promptTokens, limit, endTokens, decode } = writing
  const textBeforeStop = createStopper(stops, decode)
  const tokens: number[] = []
  let generated = 0
  let stopped: string | undefined
  let finish: Finish = 'length'
  return {
    write(logits) {
      const token = known(sample(logits, sampling, random))
      generated += 1
      if (endTokens.has(token)) {
        finish = 'stop'
        return undefined
      }
      tokens.push(token)
      stopped = textBeforeStop(tokens)
      if (stopped !== undefined) finish = 'stop'
      return stopped !== undefined || generated >= limit ? undefined : token
    },
    answer: () => ({
      text: stopped ?? decode(tokens),
      tokens: { prompt: promptTokens, generated },
      finish,
    }),
  }
}

/** A writer of one of some choices: choices.ts says which, and when that is settled. */
export function writeChoice(writing: Writing, start: ChoiceState): Writer {
  const { sampling, random, promptTokens, limit, decode } = writing
  const tokens: number[] = []
  let state = start
  let finish: Finish = 'length'
  return {
    write(logits) {
      const token = chooseToken(state, logits, sampling, random)
      if (token !== undefined) {
        tokens.push(token)
        state = state.follow(token) as ChoiceState
      }
      if (token === undefined || state.label !== undefined) finish = 'stop'
      return finish === 'stop' || tokens.length >= limit ? undefined : token
    },
    answer: () => ({
      text: state.label ?? decode(tokens),
      label: state.label ?? null,
      tokens: { prompt: promptTokens, generated: tokens.length },
      finish,
    }),
  }
}

/** The next token among those that lead to a choice; undefined if none does. */
function chooseToken(
  state: ChoiceState,
  logits: Logits,
  sampling: SamplingOptions,
  random: Random,
): number | undefined {
  const best = known(argmax(logits))
  if (sampling.temperature === 0 && state.follow(best)) return best
  const tokens = state.tokens()
  if (tokens.length === 0) return undefined
  return tokens[
    known(
      sample(
        tokens.map((token) => logits[token] as number),
        sampling,
        random,
      ),
    )
  ]
}

/** The scores of a model gone wrong are not numbers. */
function known(index: number): number {
  if (index >= 0) return index
  throw new Error('the model computes no numbers (NaN): its weights, or their precision, are of no use here')
}
