import { setImmediate as nextTurn } from 'node:timers/promises'
import { CancelledError, InputError } from '../../../../common/task-errors.ts'
import type { GenerateFunction } from '../../../../protocol/contexts/context.ts'
import type { GenerationSettings } from '../../../../protocol/contexts/generation-settings.ts'
import type { Call, CallReporter } from '../../../runtime/library-kind.ts'
import { type AnswerPart, writeChoice, type Writer, writeText, type Writing } from './answer-writer.ts'
import { startChoice } from './choice-constraint.ts'
import { createSchemaFilters, type TokenFilter } from '../grammar/json-schema-filters.ts'
import { createPrompter } from '../prompts/prompt.ts'
import type { SampleReporter } from './several-answers.ts'
import { seededRandom } from './sampling.ts'
import { mergeSettings, pickSettings, takeSettings } from './answer-settings.ts'
import type { Tokenizer } from '../prompts/tokenizer.ts'
import type { Row } from './write-tokens.ts'

/** What has to be known of a model to make prompts for it and answers of its scores. */
export interface Speaker {
  readonly tokenizer: Tokenizer
  readonly vocabSize: number
  readonly endTokens: ReadonlySet<number>
  /** How the model's authors would have it generate. */
  readonly generation: GenerationSettings
  /** Most tokens of a prompt. */
  readonly maxPromptTokens: number
  /** Most tokens of a prompt and its answer together; of an answer alone, if it begins by itself. */
  readonly maxPositions: number
  /** What every answer begins with, where the prompt is no part of it but read by an encoder. */
  readonly answerStart?: readonly number[]
}

export type ToRows = (call: Call, reporter: SampleReporter) => Promise<Row[]>

/** How long prompts are prepared before others get a turn, milliseconds. */
const TURN_MS = 10

/** @returns a function that makes a call rows, one for each answer, and throws what is wrong with its input */
export function createPreparer(speaker: Speaker, options: GenerateFunction): ToRows {
  const { tokenizer, vocabSize, endTokens, maxPromptTokens, maxPositions, generation, answerStart } = speaker
  const { decode, candidates } = tokenizer
  const maxBefore = answerStart ? Infinity : maxPositions
  const toPrompt = createPrompter(options, tokenizer, {
    maxTokens: maxPromptTokens,
    maxPositions: maxBefore,
    vocabSize,
  })
  const vocabulary = { size: vocabSize, endTokens, decode, candidates }
  const choice = options.choices && startChoice(options.choices, vocabulary)
  const usual = pickSettings(options)
  const filters = createSchemaFilters(tokenizer.spellings, vocabSize, endTokens)
  return async (call, reporter) => {
    const { settings: given, rest } = takeSettings(call.input)
    const settings = mergeSettings(generation, usual, given)
    const { tokens: prompt, leftOut } = toPrompt(rest, settings)
    const before = answerStart ?? prompt
    const limit = Math.min(settings.maxNewTokens, maxPositions - before.length)
    const seed = settings.seed ?? Math.random()
    const toRow = (part: Call, answer: number, filter?: TokenFilter): Row => ({
      call: part,
      prompt,
      limit,
      startWriter() {
        const random = seededRandom(seed, prompt, answer)
        const promptTokens = prompt.length
        const onPart = settings.stream ? (text: AnswerPart) => reporter.part(part, { ...text }) : undefined
        filter?.reset()
        const known = { settings, random, before, promptTokens, leftOut, limit, endTokens, decode }
        const writing: Writing = { ...known, filter, onPart }
        return untilCancelled(choice ? writeChoice(writing, choice) : writeText(writing), part, reporter)
      },
    })
    const { schema, n } = settings
    if (schema === undefined) return reporter.split(call, n).map((part, answer) => toRow(part, answer))
    if (choice) throw new InputError('an answer that is one of "choices" has no "schema"')
    const made = await Promise.all(Array.from({ length: n }, () => filters.create(schema)))
    return reporter.split(call, n).map((part, answer) => toRow(part, answer, made[answer]))
  }
}

/** A writer that throws at its next token once its call is cancelled. */
function untilCancelled(writer: Writer, call: Call, reporter: CallReporter): Writer {
  return {
    ...writer,
    write(scores) {
      if (reporter.isCancelled(call)) throw new CancelledError('the call was cancelled while it ran')
      return writer.write(scores)
    },
  }
}

/** The rows of those calls that can be run; the others end at once. */
export async function prepareRows(
  window: readonly Call[],
  toRows: ToRows,
  reporter: SampleReporter,
): Promise<Row[]> {
  const rows: Row[] = []
  const refused = new Map<Call, unknown>()
  let since = performance.now()
  for (const call of window) {
    try {
      rows.push(...(await toRows(call, reporter)))
    } catch (error) {
      refused.set(call, error)
    }
    if (performance.now() - since > TURN_MS) {
      await nextTurn()
      since = performance.now()
    }
  }
  for (const call of await reporter.begin([...refused.keys()]))
    reporter.end(call, { error: refused.get(call) })
  return rows
}
