import type { InferenceSession, Tensor } from 'onnxruntime-node'
import { ContextFilesError } from '../../../../common/task-errors.ts'
import type { CallReporter } from '../../../runtime/library-kind.ts'
import { batches } from './encode.ts'
import type { Logits } from '../answers/sampling.ts'
import { HostScores } from '../graph/scores.ts'
import { openSession, type SessionOptions } from '../graph/accelerated-session.ts'
import { takeRows, toScores } from '../graph/tensor-rows.ts'
import { booleanTensor, integerTensor, makeTensor } from '../graph/tensors.ts'
import type { Row } from '../answers/write-tokens.ts'

/*
 * Models in two graphs, such as T5 and BART: one reads the prompt, the other writes the answer while it looks at what the
 * first has made of the prompt. All answers of a batch begin with the same tokens, so they need no padding.
 */

export interface EncoderDecoder {
  readonly level: 'memory' | 'device'
  readonly path: string
  readonly vocabSize: number
  /** Runs rows until each has its answer. */
  run(rows: readonly Row[], reporter: CallReporter): Promise<void>
  close(): Promise<void>
}

export interface EncoderDecoderOptions extends SessionOptions {
  /** Tokens that every answer begins with, at least one; they are not part of it. */
  start: readonly number[]
  padToken: number
  vocabSize: number | undefined
  maxBatch: number
}

const PAST = /^past_key_values\.\d+\.(decoder|encoder)\.(key|value)$/
const STATES = 'encoder_hidden_states'
const MASK = 'encoder_attention_mask'
const BRANCH = 'use_cache_branch'
const KNOWN = new Set(['input_ids', STATES, MASK, BRANCH])

/** Rows that have ended stay in their batch until they are this share of it. */
const ENDED_SHARE = 0.25

/** What a batch has come to: the encoder's output, and the caches of the decoder by the names of its inputs. */
interface Memory {
  readonly states: Tensor
  readonly mask: Tensor
  readonly past: ReadonlyMap<string, Tensor>
}

/** @throws {ContextFilesError} naming the graph that is missing or is not one half of such a model */
export async function loadEncoderDecoder(
  paths: { encoder: string; decoder: string },
  options: EncoderDecoderOptions,
): Promise<EncoderDecoder> {
  const encoder = await openSession(paths.encoder, options)
  const decoder = await openSession(paths.decoder, options)
  const vocabSize = checkDecoder(paths.decoder, decoder.session, options.vocabSize)
  const steps = createSteps(encoder.session, decoder.session, options)
  return {
    level: decoder.level,
    path: paths.decoder,
    vocabSize,
    async run(rows, reporter) {
      const texts = rows.map((row) => ({ row, input: { tokens: row.prompt } }))
      for (const batch of batches(texts, options.maxBatch)) {
        const begun = new Set(await reporter.begin([...new Set(batch.map(({ row }) => row.call))]))
        const wanted = batch.map(({ row }) => row).filter((row) => begun.has(row.call))
        await writeTogether(steps, wanted, options, reporter)
      }
    },
    async close() {
      await encoder.session.release()
      await decoder.session.release()
    },
  }
}

function checkDecoder(path: string, session: InferenceSession, stated: number | undefined): number {
  const strange = session.inputNames.filter((name) => !KNOWN.has(name) && !PAST.test(name))
  if (strange.length > 0)
    throw new ContextFilesError(`${path} wants inputs that are not known here: ${strange.join(', ')}`)
  if (!session.inputNames.includes(STATES))
    throw new ContextFilesError(
      `${path} does not take ${STATES}: it is no decoder of an encoder-decoder model`,
    )
  const logits = session.outputMetadata.find(({ name }) => name === 'logits')
  const last = logits?.isTensor ? logits.shape.at(-1) : undefined
  const vocabSize = typeof last === 'number' ? last : stated
  if (logits === undefined || vocabSize === undefined)
    throw new ContextFilesError(`${path} has no output logits of known size: state vocab_size in config.json`)
  return vocabSize
}

type Steps = ReturnType<typeof createSteps>

function createSteps(
  encoder: InferenceSession,
  decoder: InferenceSession,
  { padToken }: EncoderDecoderOptions,
) {
  const pasts = decoder.inputMetadata.filter(({ name }) => PAST.test(name))
  const fetched = ['logits', ...pasts.map(({ name }) => toPresent(name))]
  const emptyPast = (rows: number) =>
    new Map(
      pasts.map((info) => {
        const shape = info.isTensor ? info.shape : []
        const dims = shape.map((size, axis) => (axis === 0 ? rows : axis === 2 ? 0 : Number(size)))
        const half = info.isTensor && info.type === 'float16'
        const none = half
          ? makeTensor('float16', new Uint16Array(0), dims)
          : makeTensor('float32', new Float32Array(0), dims)
        return [info.name, none] as const
      }),
    )
  return {
    /** Whether the decoder remembers; if not, it is given all tokens each time. */
    remembers: pasts.length > 0,
    async read(prompts: readonly (readonly number[])[]): Promise<Memory> {
      const width = Math.max(...prompts.map((prompt) => prompt.length))
      const dims = [prompts.length, width]
      const at = (of: (prompt: readonly number[], i: number) => number) =>
        prompts.flatMap((prompt) => Array.from({ length: width }, (_, i) => of(prompt, i)))
      const mask = integers(
        encoder,
        'attention_mask',
        at((prompt, i) => (i < prompt.length ? 1 : 0)),
        dims,
      )
      const ids = integers(
        encoder,
        'input_ids',
        at((prompt, i) => prompt[i] ?? padToken),
        dims,
      )
      const { inputNames } = encoder
      const feeds = { input_ids: ids, ...(inputNames.includes('attention_mask') && { attention_mask: mask }) }
      const outputs = await encoder.run(feeds)
      const states = outputs[encoder.outputNames[0] as string] as Tensor
      return { states, mask, past: emptyPast(prompts.length) }
    },
    async write(memory: Memory, tokens: readonly (readonly number[])[], first: boolean) {
      const rows = tokens.length
      const feeds: Record<string, Tensor> = {
        input_ids: integers(decoder, 'input_ids', tokens.flat(), [rows, (tokens[0] as number[]).length]),
        [STATES]: memory.states,
        ...Object.fromEntries(memory.past),
      }
      if (decoder.inputNames.includes(MASK)) feeds[MASK] = memory.mask
      if (decoder.inputNames.includes(BRANCH)) feeds[BRANCH] = booleanTensor(!first)
      const outputs = await decoder.run(feeds, fetched)
      // Once its caches are there, what the decoder knows of the prompt stays as it is; graphs give something empty then.
      const past = new Map(
        [...memory.past].map(([name, before]) => {
          const kept = !first && name.includes('.encoder.')
          return [name, kept ? before : (outputs[toPresent(name)] as Tensor)] as const
        }),
      )
      return { memory: { ...memory, past }, logits: toScores(outputs['logits'] as Tensor, rows) }
    },
    take: ({ states, mask, past }: Memory, rows: readonly number[]): Memory => ({
      states: takeRows(states, rows),
      mask: takeRows(mask, rows),
      past: new Map([...past].map(([name, tensor]) => [name, takeRows(tensor, rows)])),
    }),
  }
}

function integers(session: InferenceSession, name: string, values: number[], dims: number[]): Tensor {
  const info = session.inputMetadata.find((one) => one.name === name)
  return integerTensor(info?.isTensor && info.type === 'int32' ? 'int32' : 'int64', values, dims)
}

function toPresent(name: string): string {
  return name.replace('past_key_values', 'present')
}

/** A batch that fails, for want of memory perhaps, is tried again in halves. */
async function writeTogether(
  steps: Steps,
  rows: readonly Row[],
  options: EncoderDecoderOptions,
  reporter: CallReporter,
): Promise<void> {
  const left = new Set(rows)
  try {
    await writeAnswers(steps, rows, options, (row, outcome) => {
      left.delete(row)
      reporter.end(row.call, outcome)
    })
  } catch (error) {
    const failed = [...left]
    if (failed.length === 1) return failed.forEach((row) => reporter.end(row.call, { error }))
    const half = Math.ceil(failed.length / 2)
    await writeTogether(steps, failed.slice(0, half), options, reporter)
    await writeTogether(steps, failed.slice(half), options, reporter)
  }
}

type End = (row: Row, outcome: Parameters<CallReporter['end']>[1]) => void

async function writeAnswers(
  steps: Steps,
  rows: readonly Row[],
  { start }: EncoderDecoderOptions,
  end: End,
): Promise<void> {
  if (rows.length === 0) return
  let open = rows.map((row) => ({ row, writer: row.startWriter(), tokens: [...start], ended: false }))
  let memory = await steps.read(rows.map((row) => row.prompt))
  for (let first = true; ; first = false) {
    const given = open.map(({ tokens }) => (first || !steps.remembers ? tokens : tokens.slice(-1)))
    const seen = await steps.write(memory, given, first)
    open.forEach((answer, i) => advance(answer, seen.logits(i), end))
    const going = [...open.keys()].filter((i) => !open[i]?.ended)
    if (going.length === 0) return
    const crowded = going.length <= (1 - ENDED_SHARE) * open.length
    memory = crowded ? steps.take(seen.memory, going) : seen.memory
    if (crowded) open = going.map((i) => open[i] as (typeof open)[number])
  }
}

interface Answering {
  readonly row: Row
  readonly writer: ReturnType<Row['startWriter']>
  readonly tokens: number[]
  ended: boolean
}

/** Writes the next token of an answer, or ends it. Any token will do for one that has ended. */
function advance(answer: Answering, logits: Logits, end: End): void {
  const { row, writer, tokens } = answer
  if (answer.ended) return void tokens.push(tokens[0] as number)
  try {
    const token = writer.write(new HostScores(logits))
    if (token !== undefined) return void tokens.push(token)
    end(row, { value: writer.answer() })
  } catch (error) {
    end(row, { error })
  }
  answer.ended = true
  tokens.push(tokens[0] as number)
}
