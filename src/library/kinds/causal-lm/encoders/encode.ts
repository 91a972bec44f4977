import { ContextFilesError, InputError } from '../../../../common/task-errors.ts'
import type { JsonValue } from '../../../../protocol/primitives.ts'
import type {
  ClassifyFunction,
  EmbedFunction,
  EncoderFunction,
  ScoreFunction,
} from '../../../../protocol/contexts/encoder-functions.ts'
import type { Call, CallReporter, RunFunction } from '../../../runtime/library-kind.ts'
import type { Encoder, EncoderInput } from './encoder.ts'
import { normalize, pool, type Pooling, sigmoid, softmax } from './pooling.ts'
import { compileTemplate } from '../prompts/template.ts'
import type { Tokenizer } from '../prompts/tokenizer.ts'

/** A model that reads whole texts, and what its files say of it. */
export interface Reader {
  readonly encoder: Encoder
  readonly tokenizer: Tokenizer
  /** Most tokens of a text, special ones included. */
  readonly maxTokens: number
  /** Most texts that run together. */
  readonly maxBatch: number
  /** How the model's own files say that vectors of tokens become one. */
  readonly pooling: Pooling | undefined
  /** Names of classes, by their numbers. */
  readonly labels: readonly string[]
  /** Whether a text may be of several classes. */
  readonly multiLabel: boolean
}

/** Most tokens that run together, padding included: more share little, and take memory. */
const BATCH_TOKENS = 8192

/** What one function makes of the numbers that the graph gave for a text. */
type Finish = (rows: readonly Float32Array[]) => JsonValue

/** Makes one function of a context, as its options say, into one that runs calls. */
export function createEncode(reader: Reader, options: EncoderFunction): RunFunction {
  const { encoder, maxBatch } = reader
  const toInput = createInputReader(reader, options)
  const { output, finish } = createFinish(reader, options)
  return async (window, reporter) => {
    const texts = await prepare(window, toInput, reporter)
    for (const batch of batches(texts, maxBatch)) {
      const begun = new Set(await reporter.begin(batch.map(({ call }) => call)))
      await runBatch(
        encoder,
        output,
        batch.filter(({ call }) => begun.has(call)),
        finish,
        reporter,
      )
    }
  }
}

interface Text {
  call: Call
  input: EncoderInput
}

async function prepare(
  window: readonly Call[],
  toInput: (input: JsonValue) => EncoderInput,
  reporter: CallReporter,
): Promise<Text[]> {
  const texts: Text[] = []
  const refused = new Map<Call, unknown>()
  for (const call of window) {
    try {
      texts.push({ call, input: toInput(call.input) })
    } catch (error) {
      refused.set(call, error)
    }
  }
  for (const call of await reporter.begin([...refused.keys()]))
    reporter.end(call, { error: refused.get(call) })
  return texts
}

/** Texts of similar lengths together, shortest first: padding is work for nothing. */
export function* batches<T extends { input: { tokens: readonly number[] } }>(
  texts: readonly T[],
  maxBatch: number,
): Generator<T[]> {
  const sorted = texts.toSorted((a, b) => a.input.tokens.length - b.input.tokens.length)
  let batch: T[] = []
  for (const text of sorted) {
    const tokens = text.input.tokens.length * (batch.length + 1)
    if (batch.length > 0 && (batch.length === maxBatch || tokens > BATCH_TOKENS)) {
      yield batch
      batch = []
    }
    batch.push(text)
  }
  if (batch.length > 0) yield batch
}

/** A batch that fails, for want of memory perhaps, is tried again in halves. */
async function runBatch(
  encoder: Encoder,
  output: string,
  batch: readonly Text[],
  finish: Finish,
  reporter: CallReporter,
): Promise<void> {
  if (batch.length === 0) return
  let given
  try {
    given = await encoder.run(
      batch.map(({ input }) => input),
      output,
    )
  } catch (error) {
    const [only, ...others] = batch as [Text]
    if (others.length === 0) return reporter.end(only.call, { error })
    const half = Math.ceil(batch.length / 2)
    await runBatch(encoder, output, batch.slice(0, half), finish, reporter)
    return runBatch(encoder, output, batch.slice(half), finish, reporter)
  }
  batch.forEach(({ call }, i) => {
    try {
      reporter.end(call, { value: finish(given.rows(i)) })
    } catch (error) {
      reporter.end(call, { error })
    }
  })
}

function createInputReader(
  { tokenizer, maxTokens }: Reader,
  options: EncoderFunction,
): (input: JsonValue) => EncoderInput {
  const toText = createTextReader(options)
  return (input) => {
    const { text, pair } = toText(input)
    const { tokens, types } = tokenizer.encodePair(text, pair)
    if (tokens.length === 0) throw new InputError('the text is empty')
    if (tokens.length <= maxTokens) return { tokens, types }
    if (!options.truncate) {
      throw new InputError(
        `the text has ${tokens.length} tokens, of which ${maxTokens} are allowed: shorten it, or set truncate: true`,
      )
    }
    // The token that ends a text stays where it is.
    const cut = <T>(values: readonly T[]) => [...values.slice(0, maxTokens - 1), values.at(-1) as T]
    return { tokens: cut(tokens), types: cut(types) }
  }
}

/** Names of the two texts of a pair in an input, by what users call them. */
const PAIRS = [
  ['text', 'pair'],
  ['query', 'document'],
  ['query', 'text'],
] as const

function createTextReader(
  options: EncoderFunction,
): (input: JsonValue) => { text: string; pair: string | undefined } {
  const pairTemplate = options.task === 'embed' ? undefined : options.pair
  if (options.text !== undefined) {
    const text = compileTemplate(options.text)
    const pair = pairTemplate === undefined ? undefined : compileTemplate(pairTemplate)
    return (input) => ({ text: text(input), pair: pair?.(input) })
  }
  return (input) => {
    if (typeof input === 'string' && options.task !== 'score') return { text: input, pair: undefined }
    const fields: Record<string, unknown> = typeof input === 'object' && input !== null ? { ...input } : {}
    if (options.task !== 'embed') {
      for (const [first, second] of PAIRS) {
        const [text, pair] = [fields[first], fields[second]]
        if (typeof text === 'string' && typeof pair === 'string') return { text, pair }
      }
    }
    if (options.task !== 'score' && typeof fields['text'] === 'string') {
      return { text: fields['text'], pair: undefined }
    }
    const expected =
      options.task === 'score' ? '{"query": "…", "document": "…"}' : 'a string or {"text": "…"}'
    throw new InputError(`the input is no text: expected ${expected}`)
  }
}

function createFinish(reader: Reader, options: EncoderFunction): { output: string; finish: Finish } {
  if (options.task === 'embed') return finishEmbedding(reader, options)
  const output = 'logits'
  requireOutput(reader.encoder, [output], options.task)
  return { output, finish: options.task === 'score' ? finishScore(options) : finishClass(reader, options) }
}

/** Outputs that are vectors of tokens, and those that are vectors of texts already. */
const OF_TOKENS = ['last_hidden_state', 'token_embeddings', 'hidden_states']
const OF_TEXTS = ['sentence_embedding']

function finishEmbedding(reader: Reader, options: EmbedFunction): { output: string; finish: Finish } {
  const wanted = options.pooling === undefined ? [...OF_TEXTS, ...OF_TOKENS] : OF_TOKENS
  const output = requireOutput(reader.encoder, wanted, 'embed')
  const pooling = options.pooling ?? reader.pooling ?? 'mean'
  return {
    output,
    finish(rows) {
      const pooled = pool(rows, pooling)
      const { dimensions = pooled.length } = options
      if (dimensions > pooled.length) {
        throw new InputError(`the model's vectors have ${pooled.length} numbers, fewer than ${dimensions}`)
      }
      const cut = pooled.subarray(0, dimensions)
      return { embedding: Array.from(options.normalize ? normalize(cut) : cut) }
    },
  }
}

function finishClass(reader: Reader, { activation }: ClassifyFunction): Finish {
  const many = (activation ?? (reader.multiLabel ? 'sigmoid' : 'softmax')) === 'sigmoid'
  return ([logits]) => {
    const numbers = Array.from(logits ?? [])
    const scores = many ? numbers.map(sigmoid) : softmax(numbers)
    const best = scores.indexOf(Math.max(...scores))
    const label = (index: number) => reader.labels[index] ?? `LABEL_${index}`
    return {
      label: label(best),
      score: scores[best] ?? 0,
      scores: Object.fromEntries(scores.map((score, index) => [label(index), score])),
    }
  }
}

function finishScore({ activation }: ScoreFunction): Finish {
  return ([logits]) => {
    if (logits?.length !== 1) {
      throw new InputError(
        `the model tells ${logits?.length ?? 0} classes apart, which are no score: use classify`,
      )
    }
    const [logit] = logits as unknown as [number]
    return { score: activation === 'sigmoid' ? sigmoid(logit) : logit }
  }
}

function requireOutput({ outputs, path }: Encoder, wanted: readonly string[], task: string): string {
  const found = wanted.find((name) => outputs.has(name))
  if (found !== undefined) return found
  const has = [...outputs].slice(0, 5).join(', ')
  throw new ContextFilesError(
    `${path} gives ${has}, but ${task} needs ${wanted.join(' or ')}: ${REMEDY[task as keyof typeof REMEDY]}`,
  )
}

const REMEDY = {
  embed: 'export it for feature extraction',
  classify: 'export it for text classification',
  score: 'export it for text classification',
}
