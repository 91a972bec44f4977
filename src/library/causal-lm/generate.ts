import { setImmediate as nextTurn } from 'node:timers/promises'
import type { GenerateFunction } from '../../protocol/context.ts'
import type { Call, CallOutcome, Desk, RunFunction } from '../kind.ts'
import { writeChoice, writeText, type Writer, type Writing } from './answer.ts'
import { extendBatch, keepRows, type Prefix, startBatch } from './batch.ts'
import { startChoice } from './choices.ts'
import type { Model } from './model.ts'
import { type BatchLimits, planBatches } from './plan.ts'
import { createPrefixKeeper } from './prefix.ts'
import { createPrompter } from './prompt.ts'
import { type Logits, seededRandom } from './sampling.ts'
import type { Tokenizer } from './tokenizer.ts'

/** A model that is ready to generate, and what limits it. */
export interface Engine {
  readonly model: Model
  readonly tokenizer: Tokenizer
  readonly endTokens: ReadonlySet<number>
  /** Most tokens of a prompt. */
  readonly maxPromptTokens: number
  /** Most tokens of a prompt and its answer together. */
  readonly maxPositions: number
  readonly limits: BatchLimits
  /** Whether what prompts share at their start may be computed once. */
  readonly sharePrefix: boolean
}

/** A call that is ready to run. */
interface Row {
  readonly call: Call
  readonly prompt: readonly number[]
  startWriter(): Writer
}

/** How long prompts are prepared before others get a turn, milliseconds. */
const TURN_MS = 10
/** Rows that have ended stay in their batch until they are this share of it: leaving them out takes a copy of the rest. */
const ENDED_SHARE = 0.25

/** Makes one function of a context, as its options say, into one that runs calls. */
export function createGenerate(engine: Engine, options: GenerateFunction): RunFunction {
  const { model, limits, sharePrefix } = engine
  const toRow = createPreparer(engine, options)
  const findPrefix = createPrefixKeeper(model)
  return async (window, desk) => {
    const rows = await prepare(window, toRow, desk)
    const prefix = sharePrefix ? await findPrefix(rows.map((row) => row.prompt)) : undefined
    const shared = prefix?.tokens.length ?? 0
    for (const indices of planBatches(
      rows.map(({ prompt }) => prompt.length - shared),
      limits,
    )) {
      const batch = indices.map((index) => rows[index] as Row)
      const begun = new Set(await desk.begin(batch.map((row) => row.call)))
      await runBatch(
        model,
        batch.filter((row) => begun.has(row.call)),
        prefix,
        desk,
      )
    }
  }
}

/** @returns a function that makes a call a {@link Row}, and throws what is wrong with its input */
function createPreparer(engine: Engine, options: GenerateFunction): (call: Call) => Row {
  const { tokenizer, endTokens, maxPromptTokens, maxPositions } = engine
  const { decode } = tokenizer
  const size = engine.model.graph.vocabSize
  const toPrompt = createPrompter(options, tokenizer, { maxTokens: maxPromptTokens, vocabSize: size })
  const choice = options.choices && startChoice(options.choices, { size, endTokens, decode })
  return (call) => {
    const prompt = toPrompt(call.input)
    const seed = options.seed ?? Math.random()
    return {
      call,
      prompt,
      startWriter() {
        const writing: Writing = {
          sampling: options,
          random: seededRandom(seed, prompt),
          promptTokens: prompt.length,
          limit: Math.min(options.maxNewTokens, maxPositions - prompt.length),
          endTokens,
          decode,
        }
        return choice ? writeChoice(writing, choice) : writeText(writing, options.stop ?? [])
      },
    }
  }
}

/** The rows of those calls that can be run; the others end at once. */
async function prepare(window: readonly Call[], toRow: (call: Call) => Row, desk: Desk): Promise<Row[]> {
  const rows: Row[] = []
  let since = performance.now()
  for (const call of window) {
    try {
      rows.push(toRow(call))
    } catch (error) {
      for (const begun of await desk.begin([call])) desk.end(begun, { error })
    }
    if (performance.now() - since > TURN_MS) {
      await nextTurn()
      since = performance.now()
    }
  }
  return rows
}

type End = (row: Row, outcome: CallOutcome) => void

/** Runs rows to their end. Those that a batch fails with, for want of memory perhaps, are tried again in halves. */
async function runBatch(
  model: Model,
  rows: readonly Row[],
  prefix: Prefix | undefined,
  desk: Desk,
): Promise<void> {
  if (rows.length === 0) return
  const open = new Set(rows)
  try {
    await writeAnswers(model, rows, prefix, (row, outcome) => {
      open.delete(row)
      desk.end(row.call, outcome)
    })
  } catch (error) {
    const left = [...open]
    if (left.length === 1) return left.forEach(({ call }) => desk.end(call, { error }))
    const half = Math.ceil(left.length / 2)
    await runBatch(model, left.slice(0, half), prefix, desk)
    await runBatch(model, left.slice(half), prefix, desk)
  }
}

/** Takes rows through the model together until each has its answer. */
async function writeAnswers(
  model: Model,
  rows: readonly Row[],
  prefix: Prefix | undefined,
  end: End,
): Promise<void> {
  let active = rows.map((row) => ({ row, writer: row.startWriter(), ended: false }))
  let { batch, logits } = await startBatch(
    model,
    rows.map((row) => row.prompt),
    prefix,
  )
  for (;;) {
    let tokens = active.map((answer, i) => (answer.ended ? 0 : advance(answer, logits(i), end)))
    const open = [...active.keys()].filter((i) => !active[i]?.ended)
    if (open.length === 0) return
    if (open.length <= (1 - ENDED_SHARE) * active.length) {
      batch = keepRows(model, batch, open)
      active = active.filter(({ ended }) => !ended)
      tokens = open.map((i) => tokens[i] as number)
    }
    ;({ batch, logits } = await extendBatch(model, batch, tokens))
  }
}

/** Writes an answer's next token, or ends it. Returns the token to go on with, any one for an answer that ended. */
function advance(answer: { row: Row; writer: Writer; ended: boolean }, scores: Logits, end: End): number {
  try {
    const token = answer.writer.write(scores)
    if (token !== undefined) return token
    end(answer.row, { value: answer.writer.answer() })
  } catch (error) {
    end(answer.row, { error })
  }
  answer.ended = true
  return 0
}
