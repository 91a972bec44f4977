import { InferenceSession, Tensor } from 'onnxruntime-node'
import { GraphWriter } from '../../../src/library/kinds/causal-lm/graph/onnx-writer.ts'
import type { DecoderShape } from '../../../test/support/models/decoder.ts'

/* How much of what the processors can multiply at all an engine makes use of. */

const ROWS = 1024
const ROUNDS = 60

/** Floating point operations per second of large products of matrices of a model's size, as ONNX Runtime computes them. */
export async function matrixRate({ hidden, intermediate }: DecoderShape, threads: number): Promise<number> {
  const g = new GraphWriter()
  const weights = Float32Array.from({ length: hidden * intermediate }, (_, i) => (i % 7) - 3)
  g.op(
    'MatMul',
    [
      g.input('rows', 'float32', [ROWS, hidden]),
      g.weight('weights', 'float32', [hidden, intermediate], weights),
    ],
    {},
    'products',
  )
  g.output('products', 'float32', [ROWS, intermediate])
  const session = await InferenceSession.create(g.toModel(), { intraOpNumThreads: threads })
  const rows = new Tensor('float32', new Float32Array(ROWS * hidden).fill(0.5), [ROWS, hidden])
  await session.run({ rows })
  const startedAt = performance.now()
  for (let round = 0; round < ROUNDS; round++) await session.run({ rows })
  return (ROUNDS * 2 * ROWS * hidden * intermediate) / ((performance.now() - startedAt) / 1000)
}

/** Floating point operations of a model's matrices alone for so many tokens, of which some are scored. */
export function matrixWork(
  { layers, hidden, intermediate, heads, kvHeads, headDim, vocabSize }: DecoderShape,
  { tokens, scored }: { tokens: number; scored: number },
): number {
  const layer = 2 * hidden * headDim * (heads + kvHeads) + 3 * hidden * intermediate
  return 2 * (tokens * layers.length * layer + scored * hidden * vocabSize)
}
