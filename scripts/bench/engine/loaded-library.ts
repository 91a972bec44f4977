import { GenerateFunction } from '../../../src/protocol/contexts/context.ts'
import { loadContext } from '../../../src/library/kinds/load-context.ts'
import type { CallReporter, LoadedContext, RunFunction } from '../../../src/library/runtime/library-kind.ts'
import { toSetup } from '../../../test/library/support/setup-message.ts'
import type { Answer } from '../../../src/library/kinds/causal-lm/answers/answer-writer.ts'
import type { Measure } from './engine.ts'

/** The causal-lm library as a slot with so many processors loads it: texts in, texts out. */
export const runLibrary: Measure = async ({ model, texts = [], prompts, limits, threads }) => {
  const answer = GenerateFunction.parse({
    messages: [{ role: 'user', content: '{{ text }}' }],
    maxNewTokens: limits[0],
    temperature: 0,
  })
  const spec = { library: 'causal-lm', setup: { model: 'model' }, functions: { answer } } as const
  const context = await loadContext({ ...toSetup(spec, { model }), threads })
  await runAll(context, texts.slice(0, 4 * threads))
  const startedAt = performance.now()
  const answers = await runAll(context, texts)
  const seconds = (performance.now() - startedAt) / 1000
  for (const [i, { tokens }] of answers.entries())
    if (tokens.prompt !== prompts[i]?.length) throw new Error('the engines were given different prompts')
  return { seconds, tokens: answers.reduce((sum, { tokens }) => sum + tokens.generated, 0) }
}

/** Answers to texts, in their order: each lane of the context has its share of them. */
async function runAll(context: LoadedContext, texts: readonly string[]): Promise<Answer[]> {
  const lanes = context.lanes?.count ?? 1
  const share = Math.ceil(texts.length / lanes)
  const answers: Answer[] = []
  const reporter: CallReporter = {
    begin: (calls) => Promise.resolve([...calls]),
    end({ id }, outcome) {
      if ('error' in outcome) throw outcome.error
      answers[id] = outcome.value as Answer
    },
    part: () => undefined,
    progress: () => undefined,
    isCancelled: () => false,
    signal: () => NEVER,
  }
  const calls = texts.map((text, id) => ({ id, input: { text } }))
  const windows = Array.from({ length: lanes }, (_, lane) => calls.slice(lane * share, (lane + 1) * share))
  const run = context.functions.get('answer') as RunFunction
  await Promise.all(windows.map((window) => run(window, reporter)))
  return answers
}

const NEVER = new AbortController().signal
