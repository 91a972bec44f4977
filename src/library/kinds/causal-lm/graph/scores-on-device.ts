import type { InferenceSession, Tensor } from 'onnxruntime-node'
import type { FloatType } from './graph.ts'
import { GraphWriter } from './onnx-writer.ts'
import { integerTensor } from './tensors.ts'

/*
 * Finds the likeliest tokens on a device, by a small graph, so that one number comes back for each score of a vocabulary. The
 * likeliest is the first that equals the greatest, found in blocks, which a device looks through side by side; numbers of
 * tokens are floats there, which hold them exactly, since WebGPU has no whole numbers of 64 bits.
 */

export interface DeviceScores {
  /**
   * The likeliest tokens, or numbers beyond the vocabulary where no score is a number; undefined if the device cannot tell.
   *
   * @param logits [rows, columns, vocabulary] or [rows, vocabulary], on the device
   * @param columns how many of them are wanted, from the end
   */
  best(logits: Tensor, columns: number): Promise<Float32Array | undefined>
  /** The scores of those columns, in memory. */
  bring(logits: Tensor, columns: number): Promise<Tensor>
  close(): Promise<void>
}

/** More than any token's number, and exact. */
const BEYOND = 2 ** 25
/** Scores beyond which the device would need too much memory to look for the greatest. */
const SCORES_MAX = 64 << 20

/** @param open opens a session all of whose operators run on the device, and whose outputs come back */
export function createDeviceScores(
  logitsType: FloatType,
  vocabSize: number,
  open: (model: Uint8Array) => Promise<InferenceSession>,
): DeviceScores {
  const sessions = new Map<string, Promise<InferenceSession>>()
  const run = async (kind: 'best' | 'scores', logits: Tensor, columns: number): Promise<Tensor> => {
    const given = logits.dims.length === 3 ? (logits.dims[1] as number) : undefined
    const takes = given !== undefined && columns < given
    const key = `${kind} ${logits.dims.length} ${takes}`
    const write = kind === 'best' ? writeBest : writeScores
    const opened =
      sessions.get(key) ?? open(write({ type: logitsType, vocabSize, rank: logits.dims.length, takes }))
    sessions.set(key, opened)
    const session = await opened
    const last = Array.from({ length: columns }, (_, i) => (given ?? columns) - columns + i)
    const outputs = await session.run({
      logits,
      ...(takes && { columns: integerTensor('int64', last, [columns]) }),
    })
    return outputs[kind] as Tensor
  }
  return {
    async best(logits, columns) {
      if ((logits.dims[0] as number) * columns * vocabSize > SCORES_MAX) return undefined
      try {
        return (await run('best', logits, columns)).data as Float32Array
      } catch {
        return undefined
      }
    },
    bring: (logits, columns) => run('scores', logits, columns),
    async close() {
      for (const session of sessions.values())
        await session.then((opened) => opened.release()).catch(() => undefined)
    },
  }
}

interface Wanted {
  readonly type: FloatType
  readonly vocabSize: number
  readonly rank: number
  /** Whether some columns are taken, or all. */
  readonly takes: boolean
}

/** Opens a graph with the logits as its input; returns those of the columns that are wanted. */
function takeColumns(g: GraphWriter, { type, vocabSize, rank, takes }: Wanted): string {
  const logits = g.input('logits', type, [...['rows', 'given'].slice(0, rank - 1), vocabSize])
  return takes ? g.op('Gather', [logits, g.input('columns', 'int64', ['wanted'])], { axis: 1 }) : logits
}

function writeScores(wanted: Wanted): Uint8Array {
  const g = new GraphWriter()
  const shape = [...['rows', 'columns'].slice(0, wanted.rank - 1), wanted.vocabSize]
  g.op('Identity', [takeColumns(g, wanted)], {}, g.output('scores', wanted.type, shape))
  return g.toModel()
}

function writeBest(wanted: Wanted): Uint8Array {
  const { vocabSize } = wanted
  const size = blockSize(vocabSize)
  const count = vocabSize / size
  const g = new GraphWriter()
  const numbers = g.weight(
    'numbers',
    'float32',
    [count, size],
    Float32Array.from({ length: vocabSize }, (_, i) => i),
  )
  const beyond = g.float(BEYOND)
  /** Of some numbers, the least whose value is the greatest of theirs. */
  const least = (values: string, greatest: string, numbers: string, axis: number, as?: string) =>
    g.op(
      'ReduceMin',
      [g.op('Where', [g.op('Equal', [values, greatest]), numbers, beyond])],
      { axes: [axis], keepdims: 1 },
      as,
    )
  const blocks = g.op('Reshape', [takeColumns(g, wanted), g.integers(-1, count, size)])
  const greatest = g.op('ReduceMax', [blocks], { axes: [2], keepdims: 1 })
  const first = least(blocks, greatest, numbers, 2)
  const most = g.op('ReduceMax', [greatest], { axes: [1], keepdims: 1 })
  least(greatest, most, first, 1, g.output('best', 'float32', ['all', 1, 1]))
  return g.toModel()
}

/** Size of the blocks of a vocabulary: of its divisors, the one nearest to its root, so that there are as many as they are long. */
export function blockSize(vocabSize: number): number {
  let size = 1
  for (let divisor = 1; divisor * divisor <= vocabSize; divisor++)
    if (vocabSize % divisor === 0) size = divisor
  return vocabSize / size
}
