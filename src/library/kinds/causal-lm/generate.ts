import { setImmediate as nextTurn } from 'node:timers/promises'
import type { GenerateFunction } from '../../../protocol/context.ts'
import type { Call, CallReporter, RunFunction } from '../../runtime/library-kind.ts'
import { writeChoice, writeText, type Writing } from './answer.ts'
import { startChoice } from './choices.ts'
import type { Model } from './model.ts'
import { createPlanner } from './groups.ts'
import type { BatchLimits } from './plan.ts'
import type { Abilities } from './probe.ts'
import { createPrompter } from './prompt.ts'
import { createRunner } from './rows.ts'
import { seededRandom } from './sampling.ts'
import type { Tokenizer } from './tokenizer.ts'
import type { Row } from './writing.ts'

/** A model that is ready to generate, and what limits it. */
export interface Engine {
  readonly model: Model
  readonly tokenizer: Tokenizer
  readonly endTokens: ReadonlySet<number>
  /** Most tokens of a prompt. */
  readonly maxPromptTokens: number
  /** Most tokens of a prompt and its answer together. */
  readonly maxPositions: number
  /** Sequences longer than this are computed in another way, and so apart from others. */
  readonly longAfter: number
  readonly limits: BatchLimits
  readonly abilities: Abilities
}

/** How long prompts are prepared before others get a turn, milliseconds. */
const TURN_MS = 10

/** Makes one function of a context, as its options say, into one that runs calls. */
export function createGenerate(engine: Engine, options: GenerateFunction): RunFunction {
  const toRow = createPreparer(engine, options)
  const brief = options.choices !== undefined || options.maxNewTokens === 1
  const run = createRunner({ ...engine, plan: createPlanner(engine), brief })
  return async (window, reporter) => run(await prepare(window, toRow, reporter), reporter)
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
    const limit = Math.min(options.maxNewTokens, maxPositions - prompt.length)
    return {
      call,
      prompt,
      limit,
      startWriter() {
        const writing: Writing = {
          sampling: options,
          random: seededRandom(seed, prompt),
          promptTokens: prompt.length,
          limit,
          endTokens,
          decode,
        }
        return choice ? writeChoice(writing, choice) : writeText(writing, options.stop ?? [])
      },
    }
  }
}

/** The rows of those calls that can be run; the others end at once. */
async function prepare(
  window: readonly Call[],
  toRow: (call: Call) => Row,
  reporter: CallReporter,
): Promise<Row[]> {
  const rows: Row[] = []
  const refused = new Map<Call, unknown>()
  let since = performance.now()
  for (const call of window) {
    try {
      rows.push(toRow(call))
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
