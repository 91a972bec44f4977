import type { Logits } from './sampling.ts'
import type { AnswerSettings } from './answer-settings.ts'

/** Changes a model's scores as the settings say, given what has been said so far. */
export interface ScoreChanger {
  /** Whether the next scores stay as they are. */
  readonly isIdle: boolean
  /** The scores to choose by. They may be overwritten by the next call, for whatever answer. */
  change(logits: Logits): Logits
  /** Notes a token of the answer. */
  note(token: number): void
}

/** Makes a {@link ScoreChanger} for one answer to `prompt`. It costs next to nothing where there is nothing to change. */
export function createScoreChanger(
  settings: AnswerSettings,
  prompt: readonly number[],
  endTokens: ReadonlySet<number>,
): ScoreChanger {
  const { repetitionPenalty, presencePenalty, frequencyPenalty, minNewTokens } = settings
  const biases = Object.entries(settings.logitBias).map(([token, bias]) => [Number(token), bias] as const)
  const counts = new Map<number, number>()
  const seen = repetitionPenalty === 1 ? undefined : new Set(prompt)
  const counting = presencePenalty !== 0 || frequencyPenalty !== 0
  let said = 0

  const isIdle = () => !seen && biases.length === 0 && said >= minNewTokens && !(counting && counts.size > 0)
  return {
    get isIdle() {
      return isIdle()
    },
    change(logits) {
      if (isIdle()) return logits
      const scores = copy(logits)
      const alter = (token: number, to: (score: number) => number) => {
        if (token < scores.length) scores[token] = to(scores[token] as number)
      }
      for (const token of seen ?? []) {
        alter(token, (score) => (score < 0 ? score * repetitionPenalty : score / repetitionPenalty))
      }
      if (counting) {
        for (const [token, count] of counts) {
          alter(token, (score) => score - presencePenalty - count * frequencyPenalty)
        }
      }
      for (const [token, bias] of biases) alter(token, (score) => score + bias)
      if (said < minNewTokens) for (const token of endTokens) alter(token, () => -Infinity)
      return scores
    },
    note(token) {
      said += 1
      seen?.add(token)
      if (counting) counts.set(token, (counts.get(token) ?? 0) + 1)
    },
  }
}

let shared = new Float32Array(0)

function copy(logits: Logits): Float32Array {
  if (shared.length < logits.length) shared = new Float32Array(logits.length)
  const scores = shared.subarray(0, logits.length)
  scores.set(logits)
  return scores
}
