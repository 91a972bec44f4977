import type { ChoiceState } from './choice-constraint.ts'
import { filterScores, type TokenFilter } from '../grammar/json-schema-filters.ts'
import type { TokenScores } from '../graph/scores.ts'
import { argmax, largest, type Logits, logTotal, type Random, sample } from './sampling.ts'
import { createScoreChanger } from './logits-processor.ts'
import type { AnswerSettings } from './answer-settings.ts'
import { createStopper } from './stop-strings.ts'
import { createTextGrowth } from './text-growth.ts'
import type { Tokenizer } from '../prompts/tokenizer.ts'

/** The value of a finished call. */
export interface Answer {
  /** What was generated, without special tokens and without the stop string. With `choices`, the choice. */
  text: string
  /** Only with `choices`: which one it is, or null if the answer came to none. */
  label?: string | null
  /** Tokens that went in, and that came out, the one that ended the answer included; if the prompt was cut, how many it lost. */
  tokens: { prompt: number; generated: number; leftOut?: number }
  /** Whether the answer came to its end, or to the limit of its length. */
  finish: Finish
  /** Only if asked for: one entry for each token that came out. */
  logprobs?: TokenLogprob[]
}

/** A token, and the natural logarithm of the probability that the model gave it there. */
export interface TokenLogprob {
  token: number
  /** Its text alone; what is not whole UTF-8 is U+FFFD, and special tokens have none. */
  text: string
  logprob: number
  /** The likeliest tokens there, likeliest first. */
  top: Omit<TokenLogprob, 'top'>[]
}

type Finish = 'stop' | 'length'

/** What has come to an answer since the last part of it: the parts of an answer make up its beginning. */
export interface AnswerPart {
  text: string
  /** If asked for, those of all tokens since the last part. */
  logprobs?: TokenLogprob[]
}

/** Writes one answer, token by token. */
export interface Writer {
  /** Chooses the next token by its scores. Returns it, or undefined if the answer is complete. */
  write(scores: TokenScores): number | undefined
  /** Whether the likeliest tokens, one after the other, are all that it needs to know of the next scores. */
  suffices(bests: readonly number[]): boolean
  /** Whether one token can be written right behind another: what a schema allows next takes a turn to find out. */
  readonly atOnce: boolean
  answer(): Answer
}

/** What a {@link Writer} needs to know. */
export interface Writing {
  readonly settings: AnswerSettings
  readonly random: Random
  /** What stands before the answer, for the model: the prompt, or what its answers begin with. */
  readonly before: readonly number[]
  readonly promptTokens: number
  /** Tokens that the prompt was too long by, and lost. */
  readonly leftOut?: number
  /** Most tokens to generate. */
  readonly limit: number
  readonly endTokens: ReadonlySet<number>
  readonly decode: Tokenizer['decode']
  /** What the answer must keep to. */
  readonly filter?: TokenFilter | undefined
  /** Hears of the text as it grows. */
  readonly onPart?: ((part: AnswerPart) => void) | undefined
}

/** A writer of free text, which ends with an end token, a stop string or the limit. */
export function writeText(writing: Writing): Writer {
  const { settings, random, before, limit, endTokens, decode, filter } = writing
  const textBeforeStop = createStopper(settings.stop, decode)
  const changer = createScoreChanger(settings, before, endTokens)
  const logprobs = noteLogprobs(writing)
  const isPlain = () => isGreedy(settings) && !filter && changer.isIdle
  const choose = ({ all }: TokenScores) => chooseAllowed(filter, changer.change(all), all, settings, random)
  const tokens: number[] = []
  let generated = 0
  let stopped: string | undefined
  let finish: Finish = 'length'
  const tell = partTeller(writing, logprobs?.noted.logprobs)
  return {
    atOnce: filter === undefined,
    suffices: isPlain,
    write(scores) {
      const token = known(isPlain() ? scores.best : choose(scores))
      generated += 1
      logprobs?.note(scores.all, token)
      if (endTokens.has(token)) {
        finish = 'stop'
        return undefined
      }
      changer.note(token)
      filter?.accept(token)
      tokens.push(token)
      stopped = textBeforeStop(tokens)
      if (stopped !== undefined) finish = 'stop'
      else tell?.(tokens)
      return stopped !== undefined || generated >= limit ? undefined : token
    },
    answer: () => ({
      text: stopped ?? decode(tokens),
      tokens: countTokens(writing, generated),
      finish,
      ...logprobs?.noted,
    }),
  }
}

/** Tells of what has come to a text, and to the probabilities of its tokens, if any. */
function partTeller({ settings, decode, onPart }: Writing, logprobs: readonly TokenLogprob[] | undefined) {
  if (!onPart) return undefined
  const growth = createTextGrowth(settings.stop, decode)
  let told = 0
  return (tokens: readonly number[]) => {
    const text = growth(tokens)
    if (text === '') return
    onPart({ text, ...(logprobs && { logprobs: logprobs.slice(told) }) })
    told = tokens.length
  }
}

/** A writer of one of some choices: choices.ts says which, and when that is settled. */
export function writeChoice(writing: Writing, start: ChoiceState): Writer {
  const { settings, random, before, limit, endTokens, decode } = writing
  const changer = createScoreChanger(settings, before, endTokens)
  const logprobs = noteLogprobs(writing)
  const isPlain = () => isGreedy(settings) && changer.isIdle
  const choose = (scores: TokenScores) =>
    isPlain() && state.follow(known(scores.best))
      ? scores.best
      : chooseToken(state, changer.change(scores.all), settings, random)
  const tokens: number[] = []
  let state = start
  let finish: Finish = 'length'
  return {
    atOnce: true,
    suffices: (bests) => isPlain() && isPath(state, bests),
    write(scores) {
      const token = choose(scores)
      if (token !== undefined) {
        logprobs?.note(scores.all, token)
        changer.note(token)
        tokens.push(token)
        state = state.follow(token) as ChoiceState
      }
      if (token === undefined || state.label !== undefined) finish = 'stop'
      return finish === 'stop' || tokens.length >= limit ? undefined : token
    },
    answer: () => ({
      text: state.label ?? decode(tokens),
      label: state.label ?? null,
      tokens: countTokens(writing, tokens.length),
      finish,
      ...logprobs?.noted,
    }),
  }
}

/** Whether tokens, as far as they are any, lead on from a state, if not to a choice before. */
function isPath(state: ChoiceState, tokens: readonly number[]): boolean {
  let at = state
  for (const token of tokens) {
    if (token < 0 || at.label !== undefined) break
    const next = at.follow(token)
    if (!next) return false
    at = next
  }
  return true
}

const countTokens = ({ promptTokens, leftOut = 0 }: Writing, generated: number): Answer['tokens'] => ({
  prompt: promptTokens,
  generated,
  ...(leftOut > 0 && { leftOut }),
})

/** Whether each token is the likeliest one, and no probability is asked for. */
function isGreedy({ temperature, logprobs }: AnswerSettings): boolean {
  return temperature === 0 && logprobs === undefined
}

/** The next token among those that a filter allows, if there is one. */
function chooseAllowed(
  filter: TokenFilter | undefined,
  scores: Logits,
  logits: Logits,
  settings: AnswerSettings,
  random: Random,
): number {
  if (!filter) return sample(scores, settings, random)
  const token = sample(filterScores(scores, filter.allowed), settings, random)
  // Other settings may forbid all that is allowed, such as the end; the filter has the last word.
  return token >= 0 ? token : sample(filterScores(logits, filter.allowed), settings, random)
}

/** The next token among those that lead to a choice; undefined if none does. */
function chooseToken(
  state: ChoiceState,
  logits: Logits,
  settings: AnswerSettings,
  random: Random,
): number | undefined {
  const best = known(argmax(logits))
  if (settings.temperature === 0 && state.follow(best)) return best
  const tokens = state.tokens()
  if (tokens.length === 0) return undefined
  const scores = tokens.map((token) => logits[token] as number)
  return tokens[known(sample(scores, settings, random))]
}

/** Keeps the probabilities of an answer's tokens, if they are asked for: those the model gave, before any penalty. */
function noteLogprobs({ settings, decode }: Writing) {
  const { logprobs: count } = settings
  if (count === undefined) return undefined
  const noted: TokenLogprob[] = []
  return {
    noted: { logprobs: noted },
    note(logits: Logits, token: number) {
      const total = logTotal(logits)
      const describe = (token: number) => ({
        token,
        text: decode([token]),
        logprob: (logits[token] as number) - total,
      })
      noted.push({ ...describe(token), top: (count > 0 ? largest(logits, count) : []).map(describe) })
    },
  }
}

/** The scores of a model gone wrong are not numbers. */
function known(index: number): number {
  if (index >= 0) return index
  throw new Error('the model computes no numbers (NaN): its weights, or their precision, are of no use here')
}
