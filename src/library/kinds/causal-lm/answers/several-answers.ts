import type { Call, CallOutcome, CallReporter } from '../../../runtime/library-kind.ts'
import type { Answer } from './answer-writer.ts'

/** The value of a call that asked for several answers. */
export interface Answers {
  answers: Answer[]
  /** Tokens of the prompt, once, and of all answers together. */
  tokens: Answer['tokens']
}

/** One of several answers to a call, which is run as a call of its own. */
interface Group {
  readonly call: Call
  readonly outcomes: (CallOutcome | undefined)[]
  begun: boolean
  left: number
}

/** A reporter for which each answer of a call counts as a call. */
export interface SampleReporter extends CallReporter {
  /** The calls to run for the `n` answers to a call. */
  split(call: Call, n: number): Call[]
}

/** Puts the answers to a call together again, whatever batches they ran in. */
export function createSampleReporter(reporter: CallReporter): SampleReporter {
  const parts = new Map<Call, { group: Group; index: number }>()
  const callOf = (call: Call) => parts.get(call)?.group.call ?? call
  return {
    split(call, n) {
      if (n === 1) return [call]
      const group: Group = { call, outcomes: Array<undefined>(n).fill(undefined), begun: false, left: n }
      return group.outcomes.map((_, index) => {
        const part = { ...call }
        parts.set(part, { group, index })
        return part
      })
    },
    async begin(calls) {
      const waiting = new Set(calls.filter((call) => !parts.get(call)?.group.begun).map(callOf))
      const begun = new Set(await reporter.begin([...waiting]))
      for (const call of calls) {
        const group = parts.get(call)?.group
        if (group && begun.has(group.call)) group.begun = true
      }
      return calls.filter((call) => parts.get(call)?.group.begun ?? begun.has(call))
    },
    end(call, outcome) {
      const part = parts.get(call)
      if (!part) return reporter.end(call, outcome)
      const { group, index } = part
      parts.delete(call)
      group.outcomes[index] = outcome
      if (--group.left === 0) reporter.end(group.call, combine(group.outcomes as CallOutcome[]))
    },
    part(call, part) {
      const { group, index: answer } = parts.get(call) ?? {}
      if (!group) return reporter.part(call, part)
      reporter.part(group.call, { ...(part as object), answer })
    },
    progress: (calls, done, total) => reporter.progress([...new Set(calls.map(callOf))], done, total),
    isCancelled: (call) => reporter.isCancelled(callOf(call)),
    signal: (call) => reporter.signal(callOf(call)),
  }
}

function combine(outcomes: readonly CallOutcome[]): CallOutcome {
  const failed = outcomes.find((outcome) => 'error' in outcome)
  if (failed) return failed
  const answers = outcomes.map((outcome) => (outcome as { value: unknown }).value as Answer)
  const generated = answers.reduce((sum, { tokens }) => sum + tokens.generated, 0)
  const value: Answers = { answers, tokens: { prompt: answers[0]?.tokens.prompt ?? 0, generated } }
  return { value }
}
