import type { Tensor } from 'onnxruntime-node'
import { ContextFilesError } from '../../../../common/task-errors.ts'
import { openSession, type SessionOptions } from '../graph/accelerated-session.ts'
import { integerTensor, makeTensor } from '../graph/tensors.ts'

/* The one place that runs graphs of models that read whole texts: BERT and its kin, and decoders exported to give vectors. */

/** One text, or a pair, as tokens. */
export interface EncoderInput {
  readonly tokens: readonly number[]
  /** Which of the texts of a pair each token belongs to. */
  readonly types: readonly number[]
}

/** What a graph gave for some texts: for each text one row, or one row for each of its tokens. */
export interface EncoderOutput {
  /** Numbers in a row. */
  readonly size: number
  /** Rows of one text: 1, or as many as it has tokens. */
  rows: (text: number) => Float32Array[]
}

export interface Encoder {
  readonly path: string
  readonly level: 'memory' | 'device'
  /** Names of what the graph gives. */
  readonly outputs: ReadonlySet<string>
  /** Runs texts together, the shorter ones padded on the right. */
  run(texts: readonly EncoderInput[], output: string): Promise<EncoderOutput>
  close(): Promise<void>
}

const KNOWN = new Set(['input_ids', 'attention_mask', 'token_type_ids', 'position_ids'])
const PAST = /^past_key_values\.|^past_/

/** @throws {ContextFilesError} naming the graph when it cannot be loaded, or wants what is not known here */
export async function loadEncoder(path: string, padToken: number, options: SessionOptions): Promise<Encoder> {
  const { session, level } = await openSession(path, options)
  const unknown = session.inputNames.filter((name) => !KNOWN.has(name) && !PAST.test(name))
  if (unknown.length > 0) {
    const has = unknown.join(', ')
    throw new ContextFilesError(`${path} wants inputs that no text has (${has}): export its text model alone`)
  }
  const types = new Map(session.inputMetadata.map((info) => [info.name, info]))
  const integers = (name: string, values: number[], dims: number[]) => {
    const info = types.get(name)
    return integerTensor(info?.isTensor && info.type === 'int32' ? 'int32' : 'int64', values, dims)
  }
  /** Graphs that could go on from a past are given none. */
  const emptyPast = (name: string, rows: number) => {
    const info = types.get(name)
    if (!info?.isTensor) throw new ContextFilesError(`${path} has ${name} that is no tensor`)
    const dims = info.shape.map((size, axis) => (axis === 0 ? rows : typeof size === 'number' ? size : 0))
    const length = dims.reduce((product, size) => product * size, 1)
    return info.type === 'float16'
      ? makeTensor('float16', new Uint16Array(length), dims)
      : makeTensor('float32', new Float32Array(length), dims)
  }
  return {
    path,
    level,
    outputs: new Set(session.outputNames),
    async run(texts, output) {
      const rows = texts.length
      const width = Math.max(...texts.map(({ tokens }) => tokens.length))
      const fill = (of: (text: EncoderInput, at: number) => number, padding: number) =>
        texts.flatMap((text) =>
          Array.from({ length: width }, (_, at) => (at < text.tokens.length ? of(text, at) : padding)),
        )
      const values: Record<string, () => number[]> = {
        input_ids: () => fill(({ tokens }, at) => tokens[at] as number, padToken),
        attention_mask: () => fill(() => 1, 0),
        token_type_ids: () => fill((text, at) => text.types[at] ?? 0, 0),
        position_ids: () => fill((_, at) => at, 0),
      }
      const feeds = Object.fromEntries(
        session.inputNames.map((name) => {
          const make = values[name]
          return [name, make ? integers(name, make(), [rows, width]) : emptyPast(name, rows)] as const
        }),
      )
      const outputs = await session.run(feeds, [output])
      return readOutput(path, outputs[output] as Tensor, texts)
    },
    close: () => session.release(),
  }
}

function readOutput(
  path: string,
  { dims, data, type }: Tensor,
  texts: readonly EncoderInput[],
): EncoderOutput {
  const size = dims.at(-1) ?? 0
  const perText = dims.length === 3 ? (dims[1] as number) : 1
  if (dims[0] !== texts.length || dims.length < 2 || dims.length > 3 || size === 0) {
    throw new Error(`${path} gave an output of shape ${dims.join('x')} for ${texts.length} texts`)
  }
  const numbers = toFloat32(path, type, data)
  return {
    size,
    rows(text) {
      const count = dims.length === 3 ? (texts[text] as EncoderInput).tokens.length : 1
      return Array.from({ length: count }, (_, row) => {
        const start = (text * perText + row) * size
        return numbers.subarray(start, start + size)
      })
    },
  }
}

function toFloat32(path: string, type: string, data: Tensor['data']): Float32Array {
  if (data instanceof Float32Array) return data
  if (type === 'float16') {
    const { buffer, byteOffset, length } = data as Uint16Array
    return Float32Array.from(new Float16Array(buffer as ArrayBuffer, byteOffset, length))
  }
  throw new ContextFilesError(`${path} gives ${type}, not float32 or float16: use another graph`)
}
